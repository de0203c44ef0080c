// Adds the gradients of grains in a fixed binary tree over the grain index, so that no layout of grains over ranks changes a bit.

/**
 * A binary counter of partial sums: level i holds the sum of 2^i grains. `add` consumes a grain and returns nothing to free;
 * `combine(older, newer)` must return older + newer and may reuse the memory of either.
 */
export class GradientTree<T extends string | object> {
  readonly #levels: (T | undefined)[] = [];
  readonly #combine: (older: T, newer: T) => T;

  constructor(combine: (older: T, newer: T) => T) {
    this.#combine = combine;
  }

  /** Takes the gradient of the next grain, in grain order. */
  add(grain: T): void {
    let carried = grain;
    let level = 0;
    for (let older = this.#levels[level]; older !== undefined; older = this.#levels[level]) {
      carried = this.#combine(older, carried);
      this.#levels[level] = undefined;
      level += 1;
    }
    this.#levels[level] = carried;
  }

  /** The sum of all grains; a count that is no power of two adds the smaller subtrees to the larger ones. Empties the tree. */
  finish(): T {
    const parts = this.#levels.filter((part) => part !== undefined);
    this.#levels.length = 0;
    const [first, ...rest] = parts;
    if (first === undefined) throw new Error('internal: a step without grains');
    return rest.reduce((newer, older) => this.#combine(older, newer), first);
  }
}
