// The view of a pipe or a log: a line when something changed that a reader would want to know. Pure.
import { formatCount, formatDuration } from './format.ts';
import { transferText } from './transfer-text.ts';
import { logLines } from './view.ts';
import type { JobView, ServiceView, View } from './view.ts';

/** Progress is told every tenth of the steps. */
const tenths = 10;

/** Lines for what changed between two views; `before` undefined: everything is new. */
export function linesOfChange(before: View | undefined, after: View): string[] {
  return [
    ...after.jobs.flatMap((job) =>
      jobLines(
        before?.jobs.find(({ name }) => name === job.name),
        job,
      ),
    ),
    ...after.services.flatMap((service) =>
      serviceLines(
        before?.services.find(({ name }) => name === service.name),
        service,
      ),
    ),
  ];
}

function jobLines(before: JobView | undefined, job: JobView): string[] {
  const who = `trainingjob/${job.name}`;
  const lines: string[] = [];
  if (before?.state !== job.state && job.state !== 'Pending') {
    lines.push(`${who}: ${job.state}${job.modelVersion === undefined ? '' : `, published ${job.modelVersion}`}`);
  }
  if (job.message && before?.message !== job.message) lines.push(`${who}: ${job.message}`);
  if (before?.state !== job.state) lines.push(...logLines(job).map((line) => `${who}: | ${line}`));
  if (job.phase && before?.phase !== job.phase) lines.push(`${who}: ${job.phase}`);
  lines.push(...transferLines(before, job).map((line) => `${who}: ${line}`));
  if (job.restarts > (before?.restarts ?? 0)) lines.push(`${who}: restart ${job.restarts}`);
  if (job.fault && before?.fault !== job.fault) lines.push(`${who}: ${newPart(before?.fault, job.fault)}`);
  if (job.straggler && whoIn(before?.straggler) !== whoIn(job.straggler)) lines.push(`${who}: ${job.straggler}`);
  lines.push(...rankNews(before, job).map((line) => `${who}: ${line}`));
  const part = (view: JobView | undefined) => (view && view.steps > 0 ? Math.floor((view.step / view.steps) * tenths) : 0);
  const isNews = part(job) > part(before) || (job.step > 0 && (before?.step ?? 0) === 0);
  if (isNews) lines.push(`${who}: ${progressOf(job)}`);
  if (job.heldOutLoss !== undefined && before?.heldOutLoss !== job.heldOutLoss)
    lines.push(`${who}: held-out loss ${job.heldOutLoss.toFixed(3)}`);
  if (job.sample && before?.sample !== job.sample) lines.push(`${who}: sample: ${job.sample.replaceAll(/\s+/g, ' ')}`);
  return lines;
}

/** A transfer is told every fourth, and what stands in its way. */
function transferLines(before: JobView | undefined, { phase, transfer }: JobView): string[] {
  if (!transfer) return [];
  const known = before?.phase === phase ? before?.transfer : undefined;
  const { bytes = 0, totalBytes = 0, trouble } = transfer;
  const fourth = (count = 0) => (totalBytes > 0 ? Math.floor((4 * count) / totalBytes) : 0);
  return [
    ...(fourth(bytes) > fourth(known?.bytes) ? [`${phase}: ${transferText(transfer)}`] : []),
    ...(trouble && trouble !== known?.trouble ? [trouble] : []),
  ];
}

/** Ranks that stopped to run, and a number of them that changed while the job runs. */
function rankNews(before: JobView | undefined, job: JobView): string[] {
  const stateOf = (rank: number) => before?.ranks?.find((known) => known.rank === rank)?.state;
  const troubled = (job.ranks ?? []).filter(({ rank, state }) => isTrouble(state) && stateOf(rank) !== state);
  const counts = job.state === 'Running' && job.rankCount !== undefined && before?.rankCount !== job.rankCount;
  return [
    ...troubled.map(({ rank, pod, state }) => `rank ${rank} (pod ${pod}) is ${state}`),
    ...(counts ? [`${job.rankCount} ranks`] : []),
  ];
}

/** What a text says beyond the one before that it begins with. */
function newPart(before: string | undefined, text: string): string {
  return before !== undefined && text.startsWith(`${before}; `) ? text.slice(before.length + 2) : text;
}

function isTrouble(state: string): boolean {
  return state === 'silent' || state === 'lost';
}

function progressOf(job: JobView): string {
  const parts = [`step ${job.step}/${job.steps}`];
  if (job.loss !== undefined) parts.push(`loss ${job.loss.toFixed(3)}`);
  if (job.tokensPerSecond !== undefined) parts.push(`${formatCount(job.tokensPerSecond)} tok/s`);
  if (job.etaSeconds !== undefined && job.step < job.steps) parts.push(`ETA ${formatDuration(job.etaSeconds)}`);
  return parts.join('  ');
}

function serviceLines(before: ServiceView | undefined, service: ServiceView): string[] {
  const who = `inferenceservice/${service.name}`;
  const lines: string[] = [];
  if (before?.state !== service.state)
    lines.push(`${who}: ${service.state}${service.url && service.state === 'Ready' ? ` at ${service.url}/v1` : ''}`);
  if (service.message && before?.message !== service.message) lines.push(`${who}: ${service.message}`);
  return lines;
}

/** `rank 3 (pod x)` of a sentence that begins so: its figures change all the time. */
function whoIn(straggler: string | undefined): string | undefined {
  return straggler?.slice(0, straggler.indexOf(')') + 1);
}
