// Lets pods go first: while any job gets its pods, news that more ranks run waits, as writing a status costs the API server as much as several pods.
import type { TrainingJobStatus } from '#crds/v1alpha1/index.ts';
import type { JsonObject } from '#operator/kube/json.ts';
import type { Plan } from './decision.ts';
import { isCount } from './pace.ts';

/** Longest wait: as old as the figures of a training may be. */
const longestMs = 10_000;

export class Rush {
  readonly #onEnd: (keys: string[]) => void;
  /** Jobs that get pods now. */
  #starting = 0;
  /** Since when news of a job waits. */
  readonly #waiting = new Map<string, number>();

  /** `onEnd` gets the jobs whose news waited, when no job gets pods any more. */
  constructor(onEnd: (keys: string[]) => void) {
    this.#onEnd = onEnd;
  }

  /** Runs what gives a job its pods. */
  async during<T>(act: () => Promise<T>): Promise<T> {
    this.#starting += 1;
    try {
      return await act();
    } finally {
      this.#starting -= 1;
      if (this.#starting === 0) this.#onEnd([...this.#waiting.keys()]);
    }
  }

  /** Milliseconds that news of a job should wait at most; 0 for none. Whoever gets 0 writes it. */
  waitFor(key: string, now: number): number {
    const since = this.#waiting.get(key) ?? now;
    const leftMs = this.#starting === 0 ? 0 : Math.max(0, since + longestMs - now);
    if (leftMs === 0) this.#waiting.delete(key);
    else this.#waiting.set(key, since);
    return leftMs;
  }

  forget(key: string): void {
    this.#waiting.delete(key);
  }
}

/** Fields in which nothing but good comes: of a job whose pods come up or run. */
const calm: ReadonlySet<string> = new Set(['conditions', 'goodput', 'readyRanks', 'state', 'summary']);

/** Whether a change says no more than that more ranks run. */
export function isGoodNews(before: TrainingJobStatus | undefined, change: JsonObject, { status, events }: Plan): boolean {
  if (isCount(change)) return true;
  const comesUp = before?.state === 'Starting' || before?.state === 'Pending';
  return comesUp && status.state === 'Running' && events.length === 0 && Object.keys(change).every((field) => calm.has(field));
}
