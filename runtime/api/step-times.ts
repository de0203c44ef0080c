// How long the newest steps of a rank took: what its heartbeats say.
const keptSteps = 20;

export class StepTimes {
  readonly #whole: number[] = [];
  readonly #compute: number[] = [];

  /** A step is done: its whole time, and the part in which the rank waited for others. */
  add(stepMs: number, waitedMs: number): void {
    this.#whole.push(stepMs);
    this.#compute.push(Math.max(0, stepMs - waitedMs));
    if (this.#whole.length <= keptSteps) return;
    this.#whole.shift();
    this.#compute.shift();
  }

  /** Medians of the newest 20 steps, as a heartbeat carries them. */
  medians(): { measuredSteps: number; stepMs?: number; computeMs?: number } {
    if (this.#whole.length === 0) return { measuredSteps: 0 };
    return { measuredSteps: this.#whole.length, stepMs: medianOf(this.#whole), computeMs: medianOf(this.#compute) };
  }
}

/** Lower median of a list that is not empty. */
export function medianOf(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[(values.length - 1) >> 1] ?? NaN;
}
