// How often the status of a job is written: what decides something at once, and what only counts pods not more often than anybody looks.
import type { TrainingJobStatus } from '#crds/v1alpha1/index.ts';
import { isJsonObject } from '#operator/kube/json.ts';
import type { JsonObject } from '#operator/kube/json.ts';
import type { Plan } from './decision.ts';

/** Between two counts of pods; twice as long after each, up to the longest. */
const firstDelayMs = 2000;
const longestDelayMs = 60_000;

/** Remembers for each job when its pods were counted last. What it forgets with the process costs one more write. */
export class StatusPace {
  readonly #counts = new Map<string, { at: number; delayMs: number }>();

  /** Milliseconds until this change of the status should be written; 0 for now. Whoever gets 0 writes it. */
  waitFor(key: string, change: JsonObject, now: number): number {
    if (!isCount(change)) {
      this.decided(key, now);
      return 0;
    }
    const last = this.#counts.get(key);
    const waitMs = last === undefined ? 0 : Math.max(0, last.at + last.delayMs - now);
    const delayMs = last === undefined ? firstDelayMs : Math.min(longestDelayMs, 2 * last.delayMs);
    if (waitMs === 0) this.#counts.set(key, { at: now, delayMs });
    return waitMs;
  }

  /** Something was written that decides: counts after it wait anew. */
  decided(key: string, now: number): void {
    this.#counts.set(key, { at: now, delayMs: firstDelayMs });
  }

  forget(key: string): void {
    this.#counts.delete(key);
  }
}

/** Whether the change is one of numbers of pods alone. */
function isCount({ summary, ...rest }: JsonObject): boolean {
  const columns = isJsonObject(summary) ? Object.keys(summary) : [];
  return columns.every((name) => name === 'ranks') && Object.keys(rest).every((name) => name === 'readyRanks');
}

/** Whether a plan only writes down what its next step goes on from: the settings of the pods, or another attempt. */
export function isBeginning(before: TrainingJobStatus | undefined, { status, actions }: Plan): boolean {
  if (actions.length > 0) return false;
  const isResolved = before?.effective === undefined && status.effective !== undefined;
  return isResolved || (before?.attempt ?? 0) !== status.attempt;
}
