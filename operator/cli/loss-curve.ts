// The losses that the curve in the view is drawn from: one for each step, though steps are done again after a fault.

/** Losses that are remembered per job. */
const maxLosses = 4096;

export class LossCurve {
  #steps: number[] = [];
  #losses: number[] = [];

  /** Oldest first. */
  get values(): readonly number[] {
    return this.#losses;
  }

  /** The loss of a step; those of this and later steps that were known before are forgotten. */
  add(step: number, loss: number): void {
    while ((this.#steps.at(-1) ?? -Infinity) >= step) {
      this.#steps.pop();
      this.#losses.pop();
    }
    this.#steps.push(step);
    this.#losses.push(loss);
    if (this.#losses.length > maxLosses) {
      this.#steps.shift();
      this.#losses.shift();
    }
  }
}
