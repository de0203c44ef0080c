// What a rank tells its agent each second: where it is, how fast it steps, and what it waits for.
import { comm, commLog, profile, readProfile } from '#kernels/binding.ts';
import type { CommRecord } from '#kernels/binding.ts';
import type { CollectiveState, Heartbeat, Progress, RankPhase } from '#runtime/api/messages.ts';
import type { RankLink } from '#runtime/api/rank-link.ts';
import { StepTimes } from '#runtime/api/step-times.ts';
import { isMark } from '#runtime/tensor/main.ts';

/** Groups that a heartbeat has room for. */
const maxGroups = 16;

/** What a stream spends its time with when it does not compute. */
const waiting = new Set([...Object.keys(comm), 'wait']);

/** Phases by the words that progress reports use; anything else is preparation. */
const phases: readonly (readonly [RegExp, RankPhase])[] = [
  [/^evaluating/, 'evaluating'],
  [/^publishing/, 'publishing'],
  [/^saving/, 'checkpointing'],
];

export class RankLife {
  readonly #times = new StepTimes();
  readonly #beat: Disposable;
  #cohort: string | undefined;
  #progress: () => Progress = () => ({ step: 0, steps: 0, phase: 'joining the other ranks' });
  #step = 0;
  #stepped = 0;

  /** Beats until it is disposed of. */
  constructor(link: RankLink) {
    profile(true);
    this.#beat = link.beat(() => this.now);
  }

  /** The ranks have met: from now on it tells of `progress`. `cohort` names the ranks that do the same work. */
  follow(progress: () => Progress, cohort: string): void {
    this.#progress = progress;
    this.#cohort = cohort;
  }

  /** A step is done. */
  stepped(step: number, milliseconds: number): void {
    this.#step = step;
    const computed = readProfile().reduce((sum, { op, milliseconds: ms }) => (waiting.has(op) ? sum : sum + ms), 0);
    profile(true);
    this.#times.add(milliseconds, Math.max(0, milliseconds - computed));
    this.#stepped = step;
  }

  /** What the next heartbeat says. */
  get now(): Heartbeat {
    const { step, phase, phaseShare, transfer } = this.#progress();
    return {
      step: Math.max(step, this.#step),
      phase: phaseOf(phase, this.#stepped > 0),
      ...(phase === undefined ? {} : { activity: activityOf(phase, phaseShare, transfer?.bytes) }),
      collectives: newestByGroup(commLog()),
      rssBytes: process.memoryUsage.rss(),
      ...(this.#cohort === undefined ? {} : { cohort: this.#cohort }),
      ...this.#times.medians(),
    };
  }

  [Symbol.dispose](): void {
    this.#beat[Symbol.dispose]();
  }
}

function phaseOf(words: string | undefined, hasStepped: boolean): RankPhase {
  if (words === undefined) return hasStepped ? 'stepping' : 'preparing';
  return phases.find(([pattern]) => pattern.test(words))?.[1] ?? 'preparing';
}

function activityOf(words: string, share: number | undefined, bytes: number | undefined): string {
  if (bytes !== undefined) return `${words} ${bytes} bytes`;
  return share === undefined ? words : `${words} ${(100 * share).toFixed(1)} %`;
}

function newestByGroup(records: readonly CommRecord[]): CollectiveState[] {
  const newest = new Map<string, CommRecord>();
  for (const record of records) if (record.state !== 'queued' && !isMark(record)) newest.set(record.group, record);
  return [...newest.values()].slice(-maxGroups).map(({ group, sequence, op, site, state }) => ({
    group,
    sequence,
    operation: op,
    site,
    state: state === 'running' ? 'waiting' : 'done',
  }));
}
