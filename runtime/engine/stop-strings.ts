// Finds the first of several stop texts in a stream of characters (Aho-Corasick over UTF-16 code units).

interface Node {
  readonly next: Map<number, number>;
  /** Length of the longest suffix of the text that may still grow into a stop text. */
  readonly depth: number;
  fail: number;
  /** Length of the longest stop text that ends here; 0 if none does. */
  match: number;
}

/** Immutable once built; a position in it is a number, 0 at the start of the text. */
export class StopStrings {
  readonly #nodes: Node[] = [{ next: new Map(), depth: 0, fail: 0, match: 0 }];

  constructor(texts: readonly string[]) {
    for (const text of texts) this.#insert(text);
    this.#link();
  }

  /** The state after `unit` was read in `state`. */
  advance(state: number, unit: number): number {
    for (let at = state; ; at = this.#nodes[at]!.fail) {
      const next = this.#nodes[at]!.next.get(unit);
      if (next !== undefined) return next;
      if (at === 0) return 0;
    }
  }

  /** How many of the last code units may be the beginning of a stop text. */
  held(state: number): number {
    return this.#nodes[state]!.depth;
  }

  /** Length of the stop text that has just ended, the longest if several have; 0 if none. */
  matched(state: number): number {
    return this.#nodes[state]!.match;
  }

  #insert(text: string): void {
    let at = 0;
    for (let i = 0; i < text.length; i += 1) {
      const unit = text.charCodeAt(i);
      let next = this.#nodes[at]!.next.get(unit);
      if (next === undefined) {
        next = this.#nodes.push({ next: new Map(), depth: i + 1, fail: 0, match: 0 }) - 1;
        this.#nodes[at]!.next.set(unit, next);
      }
      at = next;
    }
    this.#nodes[at]!.match = text.length;
  }

  #link(): void {
    const queue = [...this.#nodes[0]!.next.values()];
    for (const index of queue) {
      const node = this.#nodes[index]!;
      for (const [unit, child] of node.next) {
        this.#nodes[child]!.fail = this.advance(node.fail, unit);
        queue.push(child);
      }
      node.match ||= this.#nodes[node.fail]!.match;
    }
  }
}
