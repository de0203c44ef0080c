// What one more row adds to a step, learned from the steps: whether a guess is worth checking depends on it.

/** Until steps of different sizes have shown it: what a 135M model in 4 bits takes on two cores, decoding 1 and 8 sequences. */
const firstEstimate = 0.3;
/** Squared rows of spread that the first estimate is worth. Where all steps are alike they say nothing, and it holds again. */
const firstWeight = 32;
/** What older steps count for after each step: about the last fifty matter. */
const decay = 0.98;
/** A step that took longer than so many times what was expected was held up by something else, and counts as one of that length. */
const heldUp = 3;
/** Steps after which one may be called held up. */
const leastSteps = 8;
/** Larger steps are no steps of guesses. */
const mostRows = 64;
const bounds = { least: 0.02, most: 1 };

/**
 * A line through the times of the last steps over their rows, by least squares with weights that decay, drawn towards the first estimate.
 * It decides how much is guessed, hence speed; what is generated does not depend on it.
 */
export class RowCost {
  #weight = 0;
  #rows = 0;
  #seconds = 0;
  #rowSpread = 0;
  #jointSpread = 0;

  /** Takes what a step took in which each sequence drew, of so many rows, guesses included. */
  observe(rows: number, seconds: number): void {
    if (rows > mostRows || !(seconds > 0)) return;
    const most = this.#weight >= leastSteps ? heldUp * this.#expected(rows) : Infinity;
    const taken = most > 0 ? Math.min(seconds, most) : seconds;
    this.#weight = this.#weight * decay + 1;
    const rowsOff = rows - this.#rows;
    this.#rows += rowsOff / this.#weight;
    this.#seconds += (taken - this.#seconds) / this.#weight;
    this.#rowSpread = this.#rowSpread * decay + rowsOff * (rows - this.#rows);
    this.#jointSpread = this.#jointSpread * decay + rowsOff * (taken - this.#seconds);
  }

  /** In shares of a step of one row, from 0.02 to 1. */
  get share(): number {
    if (this.#weight === 0) return firstEstimate;
    const slope = this.#secondsPerRow;
    const ofOneRow = this.#seconds - slope * (this.#rows - 1);
    if (ofOneRow <= 0) return bounds.most;
    return Math.min(bounds.most, Math.max(bounds.least, slope / ofOneRow));
  }

  get #secondsPerRow(): number {
    const first = (firstEstimate * this.#seconds) / (1 + firstEstimate * (this.#rows - 1));
    return (this.#jointSpread + firstWeight * first) / (this.#rowSpread + firstWeight);
  }

  #expected(rows: number): number {
    return this.#seconds + this.#secondsPerRow * (rows - this.#rows);
  }
}
