// A token bucket for each key. A bucket is one number, the time at which it will be full again; one that is full is not kept.

export interface RateRules {
  /** What may come at once after a time of rest. */
  readonly burst: number;
  /** One more may come each time so many ms have passed. */
  readonly everyMs: number;
}

export class RateLimit {
  readonly #rules: RateRules;
  readonly #fullAt = new Map<string, number>();
  #sweepAt = 0;

  constructor(rules: RateRules) {
    this.#rules = rules;
  }

  /** Keys of which something is known. */
  get size(): number {
    return this.#fullAt.size;
  }

  /** How many ms are left until one more may come; 0: now. Takes nothing. */
  waitMs(key: string, now: number): number {
    const { burst, everyMs } = this.#rules;
    return Math.max(0, this.#missingMs(key, now) - (burst - 1) * everyMs);
  }

  /** Takes one and returns 0, or returns how many ms are left until there is one. */
  take(key: string, now: number): number {
    const waitMs = this.waitMs(key, now);
    if (waitMs > 0) return waitMs;
    this.#fullAt.set(key, now + this.#missingMs(key, now) + this.#rules.everyMs);
    if (now >= this.#sweepAt) this.#sweep(now);
    return 0;
  }

  #missingMs(key: string, now: number): number {
    return Math.max(0, (this.#fullAt.get(key) ?? now) - now);
  }

  /** Once in the time in which an empty bucket fills. */
  #sweep(now: number): void {
    const { burst, everyMs } = this.#rules;
    this.#sweepAt = now + burst * everyMs;
    for (const [key, fullAt] of this.#fullAt) if (fullAt <= now) this.#fullAt.delete(key);
  }
}
