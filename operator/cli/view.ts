// What the live view shows, as lines of text. Pure: the same state and width give the same lines.
import { bar, curve, fit, formatCount, formatDuration, wrap } from './format.ts';
import { rankLines } from './rank-lines.ts';
import type { RankView } from './rank-lines.ts';
import { transferText } from './transfer-text.ts';
import type { Transfer } from './transfer-text.ts';

const sampleLines = 3;
const logTailLines = 8;
/** Log lines that begin with this much of the failure's message say nothing new. */
const sameTextChars = 60;

export interface JobView {
  readonly name: string;
  /** `Running`, `Complete`, `Failed`, ... as `status.state` says. */
  readonly state: string;
  /** It is paused, but pods of it still save and end. */
  readonly stopping?: boolean;
  readonly step: number;
  readonly steps: number;
  readonly loss?: number;
  readonly heldOutLoss?: number;
  readonly tokensPerSecond?: number;
  readonly etaSeconds?: number;
  readonly phase?: string;
  readonly phaseShare?: number;
  /** What comes from a server, or goes to one, in the phase. */
  readonly transfer?: Transfer;
  readonly restarts: number;
  /** Ranks that are there, of those that the job uses: `3/4`. Absent for a job of one. */
  readonly rankCount?: string;
  readonly ranks?: readonly RankView[];
  /** The newest fault that did not end the job: who, why, and what was done. */
  readonly fault?: string;
  /** The rank that the others wait for. */
  readonly straggler?: string;
  readonly checkpointStep?: number;
  readonly sample?: string;
  /** Loss of each reported step, oldest first. */
  readonly losses: readonly number[];
  /** Failure, or what the job waits for. */
  readonly message?: string;
  /** Last lines of the log of a job that failed. */
  readonly logTail?: string;
  /** What a job that succeeded has published. */
  readonly modelVersion?: string;
}

export interface ServiceView {
  readonly name: string;
  readonly state: string;
  readonly url?: string;
  readonly replicas: string;
  readonly message?: string;
}

export interface View {
  readonly title: string;
  readonly elapsedSeconds: number;
  readonly jobs: readonly JobView[];
  readonly services: readonly ServiceView[];
}

/** Lines of at most `width` columns. */
export function renderView(view: View, width: number): string[] {
  const clock = formatDuration(view.elapsedSeconds);
  const head = `${fit(view.title, Math.max(0, width - clock.length - 1)).padEnd(Math.max(0, width - clock.length))}${clock}`;
  return [
    head,
    ...view.jobs.flatMap((job) => ['', ...renderJob(job, width)]),
    ...view.services.flatMap((service) => ['', ...renderService(service, width)]),
  ].map((line) => fit(line, width));
}

/** Lines of a job, not cut to the width. */
export function renderJob(job: JobView, width: number): string[] {
  const published = job.modelVersion === undefined ? '' : `  published ${job.modelVersion}`;
  const ranks = job.rankCount === undefined || job.state === 'Succeeded' ? '' : `  ${job.rankCount} ranks`;
  const lines = [`${job.name}  TrainingJob  ${job.state}${ranks}${published}${formatRestarts(job.restarts)}`];
  if (job.message) lines.push(...indented(job.message, width));
  for (const line of logLines(job)) lines.push(`  | ${line}`);
  if (job.phase) {
    const share = job.phaseShare === undefined ? '' : ` ${Math.round(job.phaseShare * 100)} %`;
    lines.push(`  ${job.phase}${share}${job.transfer === undefined ? '' : `  ${transferText(job.transfer)}`}`);
    if (job.transfer?.trouble) lines.push(...indented(job.transfer.trouble, width));
  }
  if (job.steps > 0 && job.state === 'Running') {
    const share = job.step / job.steps;
    lines.push(
      `  ${bar(share, Math.max(10, Math.min(50, width - 30)))} ${Math.floor(share * 100)} %  step ${job.step}/${job.steps}`,
    );
  }
  lines.push(...rankLines(job.ranks ?? []).map((line) => `  ${line}`));
  if (job.straggler) lines.push(...indented(job.straggler, width));
  if (job.fault) lines.push(...indented(job.fault, width));
  const facts = factsOf(job);
  if (facts.length > 0) lines.push(`  ${facts.join('  ')}`);
  if (job.losses.length > 1) lines.push(`  ${curve(job.losses, Math.max(10, Math.min(50, width - 30)))} loss`);
  if (job.sample) lines.push(...indented(`sample: ${job.sample}`, width).slice(0, sampleLines));
  return lines;
}

/** The newest lines of the log of a job that failed, without those that begin as its message does. */
export function logLines({ logTail = '', message = '' }: JobView): string[] {
  const lines = logTail.split('\n').map(readLogLine);
  const news = lines.filter(({ text }) => text !== '' && !message.includes(text.slice(0, sameTextChars)));
  return news.slice(-logTailLines).map(({ level, text }) => (level === undefined ? text : `${level}: ${text}`));
}

/** Level and message of a line of JSON, which may be cut off; any other line as it is. */
function readLogLine(line: string): { level?: string; text: string } {
  const level = /^\{"level":"(\w+)"/.exec(line)?.[1];
  const text = (/"msg":"((?:[^"\\]|\\.)*)/.exec(line) ?? /"message":"((?:[^"\\]|\\.)*)/.exec(line))?.[1];
  if (level === undefined || text === undefined) return { text: line.trimEnd() };
  return { level, text: text.replaceAll(/\\(.)/g, (_, escaped: string) => (escaped === 'n' ? ' ' : escaped)) };
}

function formatRestarts(count: number): string {
  return count === 0 ? '' : `  ${count} ${count === 1 ? 'restart' : 'restarts'}`;
}

function indented(text: string, width: number): string[] {
  return wrap(text, Math.max(1, width - 2)).map((line) => `  ${line}`);
}

function factsOf(job: JobView): string[] {
  const facts: string[] = [];
  if (job.loss !== undefined) facts.push(`loss ${job.loss.toFixed(3)}`);
  if (job.heldOutLoss !== undefined) facts.push(`held-out ${job.heldOutLoss.toFixed(3)}`);
  if (job.tokensPerSecond !== undefined && job.state === 'Running') facts.push(`${formatCount(job.tokensPerSecond)} tok/s`);
  if (job.etaSeconds !== undefined && job.state === 'Running') facts.push(`ETA ${formatDuration(job.etaSeconds)}`);
  if (job.checkpointStep !== undefined) facts.push(`saved at ${job.checkpointStep}`);
  return facts;
}

/** Lines of a service, not cut to the width. */
export function renderService(service: ServiceView, width: number): string[] {
  const lines = [`${service.name}  InferenceService  ${service.state}  ${service.replicas}`];
  if (service.url && service.state === 'Ready') lines.push(`  ${service.url}/v1`);
  if (service.message) lines.push(...indented(service.message, width));
  return lines;
}
