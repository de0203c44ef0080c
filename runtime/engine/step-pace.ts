// How much of a prompt one step takes: what comes meanwhile waits for the step in flight, so a step of a long prompt must not be long.

/** A step with a part of a prompt is meant to take about so long: an answer in the making shows no pause, a new request starts soon. */
const stepSeconds = 0.04;
/** Fewer rows cost nearly as much, as all weights are read for them. */
const leastRows = 32;
/** Weight of the newest step in the average. */
const newest = 0.3;

/** Learns from the steps how long a row takes on this machine, whatever else it does. */
export class StepPace {
  #secondsPerRow: number | undefined;

  /** Takes what a step of so many rows took. Steps of few rows say little and are passed over. */
  observe(rows: number, seconds: number): void {
    if (rows < leastRows / 2) return;
    const now = seconds / rows;
    this.#secondsPerRow = this.#secondsPerRow === undefined ? now : newest * now + (1 - newest) * this.#secondsPerRow;
  }

  /** Rows of one prompt in the next step, at most. */
  get rows(): number {
    if (this.#secondsPerRow === undefined) return leastRows;
    return Math.max(leastRows, Math.floor(stepSeconds / this.#secondsPerRow));
  }
}
