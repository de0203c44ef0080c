// A map from pairs of token ids to a pair of integers, in flat arrays: the hot look-up of encoder and trainer.

const leastSlots = 1 << 10;

/** Open addressing with linear probing; ids and values are 32-bit, absence is -1. Grows at half load. */
export class PairTable {
  #mask: number;
  #lefts: Int32Array;
  #rights: Int32Array;
  #values: Int32Array;
  #seconds: Int32Array;
  #size = 0;

  /** With room for so many pairs before it grows. */
  constructor(pairs = 0) {
    const slots = Math.max(leastSlots, 2 ** Math.ceil(Math.log2(2 * pairs + 2)));
    this.#mask = slots - 1;
    this.#lefts = new Int32Array(slots).fill(-1);
    this.#rights = new Int32Array(slots);
    this.#values = new Int32Array(slots);
    this.#seconds = new Int32Array(slots);
  }

  get size(): number {
    return this.#size;
  }

  /** Slot of the pair, or -1; valid until the next `set`. */
  find(left: number, right: number): number {
    const lefts = this.#lefts;
    const rights = this.#rights;
    const mask = this.#mask;
    let slot = hash(left, right) & mask;
    for (;;) {
      const there = lefts[slot]!;
      if (there === -1) return -1;
      if (there === left && rights[slot] === right) return slot;
      slot = (slot + 1) & mask;
    }
  }

  valueAt(slot: number): number {
    return this.#values[slot]!;
  }

  secondAt(slot: number): number {
    return this.#seconds[slot]!;
  }

  /** Stores both values of a pair, over what was there. */
  set(left: number, right: number, value: number, second: number): void {
    let slot = this.find(left, right);
    if (slot === -1) {
      if ((this.#size + 1) * 2 > this.#mask) this.#grow();
      slot = this.#insert(left, right);
      this.#size++;
    }
    this.#values[slot] = value;
    this.#seconds[slot] = second;
  }

  #insert(left: number, right: number): number {
    let slot = hash(left, right) & this.#mask;
    while (this.#lefts[slot] !== -1) slot = (slot + 1) & this.#mask;
    this.#lefts[slot] = left;
    this.#rights[slot] = right;
    return slot;
  }

  #grow(): void {
    const lefts = this.#lefts;
    const rights = this.#rights;
    const values = this.#values;
    const seconds = this.#seconds;
    const slots = lefts.length * 2;
    this.#mask = slots - 1;
    this.#lefts = new Int32Array(slots).fill(-1);
    this.#rights = new Int32Array(slots);
    this.#values = new Int32Array(slots);
    this.#seconds = new Int32Array(slots);
    for (let i = 0; i < lefts.length; i++) {
      if (lefts[i] === -1) continue;
      const slot = this.#insert(lefts[i]!, rights[i]!);
      this.#values[slot] = values[i]!;
      this.#seconds[slot] = seconds[i]!;
    }
  }
}

function hash(left: number, right: number): number {
  let mixed = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b);
  mixed ^= mixed >>> 15;
  mixed = Math.imul(mixed, 0x2c1b3c6d);
  return (mixed ^ (mixed >>> 13)) >>> 0;
}
