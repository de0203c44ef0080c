// How many tokens to guess: as many as are likely enough to be right for what it costs to check them.

/** What one more row adds to the time of a step of one row: from decoding 1 and 8 sequences of a 135M model in 4 bits on two cores. */
const rowCost = 0.3;
/** A text that has shown nothing yet counts as one of which four in five guesses were right, twice. */
const prior = { right: 1.6, checked: 2 };
/** What older guesses count for after each check, and what all count for after each token for which nothing was guessed. */
const decay = { checked: 0.9, idle: 0.99 };

/**
 * One for each sequence. A step of `rows` rows takes 1 + rowCost * (rows - 1), so one more row must bring more than its share of the
 * tokens: the k-th guess is worth its row while the chance that k in a row are right is above `price`. With many rows the price nears 1,
 * and nothing is guessed; a text whose guesses are wrong is left alone for a while.
 */
export class DraftLength {
  #right = 0;
  #checked = 0;

  /** The guesses for a step that has `rows` rows without them. */
  next(rows: number, most: number): number {
    const chance = (this.#right + prior.right) / (this.#checked + prior.checked);
    const price = (rowCost * rows) / (1 + rowCost * (rows - 1));
    let count = 0;
    for (let all = chance; count < most && all > price; all *= chance) count += 1;
    return count;
  }

  /** Of `drafted` guesses the first `accepted` were right. What follows a wrong one says nothing. */
  saw(drafted: number, accepted: number): void {
    const weight = drafted > 0 ? decay.checked : decay.idle;
    this.#right = this.#right * weight + accepted;
    this.#checked = this.#checked * weight + Math.min(drafted, accepted + 1);
  }
}
