// How many requests may be under way at once: grows slowly while the API server takes them, halves when it refuses (AIMD).
import type { Clock } from './clock.ts';

/** The way out of the queue; call it when the answer has come. */
export type Leave = (outcome: 'accepted' | 'refused' | 'failed') => void;

export class FlowControl {
  readonly #max: number;
  readonly #clock: Clock;
  #window: number;
  #running = 0;
  #waiting: (() => void)[] = [];
  /** Requests sent before the last cut say nothing about the window after it. */
  #cuts = 0;

  constructor(max: number, clock: Clock) {
    this.#max = max;
    this.#window = max;
    this.#clock = clock;
  }

  /** Requests that may be under way now. */
  get window(): number {
    return Math.floor(this.#window);
  }

  /** Resolves when a request may be sent. Throws the signal's reason if it aborts before. */
  async enter(signal: AbortSignal | undefined): Promise<Leave> {
    signal?.throwIfAborted();
    if (this.#running >= this.window) await this.#turn(signal);
    else this.#running += 1;
    const cutsBefore = this.#cuts;
    return (outcome) => {
      if (outcome === 'accepted') this.#window = Math.min(this.#max, this.#window + 1 / this.#window);
      if (outcome === 'refused' && this.#cuts === cutsBefore) {
        this.#cuts += 1;
        this.#window = Math.max(1, this.#window / 2);
      }
      this.#running -= 1;
      this.#admit();
    };
  }

  /** Waits as long as the server asked to, without holding a place. */
  pause(delayMs: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const aborted = () => {
        cancel();
        reject(signal?.reason as Error);
      };
      const cancel = this.#clock.after(delayMs, () => {
        signal?.removeEventListener('abort', aborted);
        resolve();
      });
      signal?.addEventListener('abort', aborted, { once: true });
    });
  }

  #turn(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const admitted = () => {
        signal?.removeEventListener('abort', aborted);
        resolve();
      };
      const aborted = () => {
        this.#waiting = this.#waiting.filter((other) => other !== admitted);
        reject(signal?.reason as Error);
      };
      this.#waiting.push(admitted);
      signal?.addEventListener('abort', aborted, { once: true });
    });
  }

  #admit(): void {
    while (this.#waiting.length > 0 && this.#running < this.window) {
      this.#running += 1;
      this.#waiting.shift()!();
    }
  }
}
