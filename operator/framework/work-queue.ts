// The queue between events and reconciles: each key at most once, never processed twice at the same time, failures with growing delay.
import type { Clock } from '#operator/kube/clock.ts';

/** Delay after the first failure of a key; doubles with each further one. */
const baseDelayMs = 5;
const maxDelayMs = 1_000_000;
/** All keys together: this many failures at once, then one every 100 ms. */
const retryBurst = 100;
const retryEveryMs = 100;

export interface QueueOptions {
  clock: Clock;
  onAdd?: (() => void) | undefined;
  onRetry?: (() => void) | undefined;
}

/** A key taken from the queue; `done` must be called when its work has ended. */
export interface Taken {
  key: string;
  /** When the key was added. */
  addedAt: number;
  priority: number;
}

/** Keys of a lower priority wait until no others do; the initial listing is added with it. */
export const lowPriority = -100;

/**
 * client-go's work queue: a key that is added while it is processed is processed once more afterwards (dirty and processing sets); a key
 * that waits is not added again.
 */
export class WorkQueue {
  readonly #clock: Clock;
  readonly #options: QueueOptions;
  /** Keys that wait, by priority, in the order they came; with the time they were added. */
  readonly #waiting = new Map<number, Map<string, number>>();
  readonly #processing = new Map<string, { startedAt: number; again?: { priority: number; addedAt: number } }>();
  readonly #delayed = new Map<string, { due: number; priority: number; cancel: () => void }>();
  readonly #failures = new Map<string, number>();
  readonly #takers: ((taken: Taken | undefined) => void)[] = [];
  #closed = false;
  /** When the failures so far would have been spread over, one every `retryEveryMs`. */
  #retriesUntil = -Infinity;

  constructor(options: QueueOptions) {
    this.#options = options;
    this.#clock = options.clock;
  }

  /** Keys that wait to be taken. */
  get depth(): number {
    let depth = 0;
    for (const keys of this.#waiting.values()) depth += keys.size;
    return depth;
  }

  /** Keys that wait to be taken, by priority. */
  get depths(): Map<number, number> {
    return new Map([[0, 0], [lowPriority, 0], ...[...this.#waiting].map(([priority, keys]) => [priority, keys.size] as const)]);
  }

  /** Whether nothing waits or is processed. Keys that are delayed don't count. */
  get idle(): boolean {
    return this.depth + this.#processing.size === 0;
  }

  /** Start times of the keys that are processed now. */
  get startTimes(): number[] {
    return [...this.#processing.values()].map(({ startedAt }) => startedAt);
  }

  add(key: string, priority = 0): void {
    if (this.#closed) return;
    this.#undelay(key);
    for (const [level, keys] of this.#waiting) {
      const addedAt = keys.get(key);
      if (addedAt === undefined) continue;
      if (level >= priority) return;
      keys.delete(key);
      return this.#enqueue(key, priority, addedAt);
    }
    const processing = this.#processing.get(key);
    if (processing) {
      if (!processing.again) this.#options.onAdd?.();
      const addedAt = processing.again?.addedAt ?? this.#clock.now();
      processing.again = { priority: Math.max(priority, processing.again?.priority ?? priority), addedAt };
      return;
    }
    this.#options.onAdd?.();
    this.#enqueue(key, priority, this.#clock.now());
  }

  /** Adds the key later. Of two delays the shorter one counts; an `add` before it makes it void. */
  addAfter(key: string, delayMs: number, priority = 0): void {
    if (this.#closed) return;
    if (delayMs <= 0) return this.add(key, priority);
    const due = this.#clock.now() + delayMs;
    const delayed = this.#delayed.get(key);
    if (delayed && delayed.due <= due) {
      delayed.priority = Math.max(delayed.priority, priority);
      return;
    }
    delayed?.cancel();
    const cancel = this.#clock.after(delayMs, () => {
      const { priority } = this.#delayed.get(key)!;
      this.#delayed.delete(key);
      this.add(key, priority);
    });
    this.#delayed.set(key, { due, priority: Math.max(priority, delayed?.priority ?? priority), cancel });
  }

  /**
   * Adds the key after a delay that doubles with each failure since the last `forget`. When very many keys fail, they are spread over time
   * beyond that.
   */
  addAfterFailure(key: string, priority = 0): void {
    const failures = this.#failures.get(key) ?? 0;
    this.#failures.set(key, failures + 1);
    this.#options.onRetry?.();
    const now = this.#clock.now();
    this.#retriesUntil = Math.max(this.#retriesUntil, now - retryBurst * retryEveryMs) + retryEveryMs;
    const ownDelayMs = Math.min(maxDelayMs, baseDelayMs * 2 ** failures);
    this.addAfter(key, Math.max(ownDelayMs, this.#retriesUntil - now), priority);
  }

  forget(key: string): void {
    this.#failures.delete(key);
  }

  failures(key: string): number {
    return this.#failures.get(key) ?? 0;
  }

  /** The next key, as soon as there is one; undefined when the queue is closed. */
  take(): Promise<Taken | undefined> {
    const next = this.#next();
    if (next) return Promise.resolve(next);
    if (this.#closed) return Promise.resolve(undefined);
    return new Promise((resolve) => this.#takers.push(resolve));
  }

  /** Says that the work on a key has ended. If the key was added meanwhile, it waits again. */
  done(key: string): void {
    const processing = this.#processing.get(key);
    this.#processing.delete(key);
    if (processing?.again && !this.#closed) this.#enqueue(key, processing.again.priority, processing.again.addedAt);
  }

  /** Nothing can be added or taken any more. */
  close(): void {
    this.#closed = true;
    for (const { cancel } of this.#delayed.values()) cancel();
    this.#delayed.clear();
    this.#waiting.clear();
    for (const resolve of this.#takers.splice(0)) resolve(undefined);
  }

  #enqueue(key: string, priority: number, addedAt: number): void {
    const taker = this.#takers.shift();
    if (taker) {
      taker(this.#start(key, addedAt, priority));
      return;
    }
    const keys = this.#waiting.get(priority) ?? new Map<string, number>();
    this.#waiting.set(priority, keys.set(key, addedAt));
  }

  #next(): Taken | undefined {
    for (const level of [...this.#waiting.keys()].sort((a, b) => b - a)) {
      for (const [key, addedAt] of this.#waiting.get(level)!) {
        this.#waiting.get(level)!.delete(key);
        return this.#start(key, addedAt, level);
      }
    }
    return undefined;
  }

  #start(key: string, addedAt: number, priority: number): Taken {
    this.#processing.set(key, { startedAt: this.#clock.now() });
    return { key, addedAt, priority };
  }

  #undelay(key: string): void {
    this.#delayed.get(key)?.cancel();
    this.#delayed.delete(key);
  }
}
