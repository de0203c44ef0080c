// How much is computed at a time: whoever comes meanwhile waits for it.

/** A step with prompts, and a slice of a long prompt, are meant to take about so long. */
const stepSeconds = 0.03;
/** Fewer rows cost nearly as much, as all weights are read for them. */
const leastRows = 32;

/** Learns how long rows take on this machine, whatever else it does. */
export class StepPace {
  /** Seconds of a row: in a whole step, and in one layer of a long prompt. */
  readonly #inStep = new RecentMean();
  readonly #inLayer = new RecentMean();

  /** Takes what a step of so many rows took. Steps of few rows say little and are passed over. */
  observe(rows: number, seconds: number): void {
    if (rows >= leastRows / 2) this.#inStep.add(seconds / rows);
  }

  /** Takes what so many layers of a long prompt took. */
  observeSlice(rows: number, layers: number, seconds: number): void {
    this.#inLayer.add(seconds / (rows * layers));
  }

  /** Rows of a prompt that are computed together with other sequences; one with more is long. */
  get shortRows(): number {
    return Math.max(leastRows, this.#inStep.fits(stepSeconds));
  }

  /** Rows of a long prompt that are computed together: no more than one layer of them takes its time. */
  get longRows(): number {
    return this.#inLayer.known ? Math.max(leastRows, this.#inLayer.fits(stepSeconds)) : Infinity;
  }

  /** Layers of so many rows that are computed without a pause. */
  layersOf(rows: number): number {
    return Math.max(1, this.#inLayer.fits(stepSeconds / rows));
  }
}

/** Weight of the newest value in the mean. */
const newest = 0.3;

class RecentMean {
  #mean: number | undefined;

  add(value: number): void {
    this.#mean = this.#mean === undefined ? value : newest * value + (1 - newest) * this.#mean;
  }

  get known(): boolean {
    return this.#mean !== undefined;
  }

  /** How many of them fit into so much; none while nothing is known. */
  fits(whole: number): number {
    return this.#mean === undefined ? 0 : Math.floor(whole / this.#mean);
  }
}
