// Ids of tokens by their UTF-8 bytes, without a string for each: a table of 49,152 tokens is made in a few milliseconds.
import type { TextTable } from '#runtime/api/text-table.ts';

/** With half of the slots free a chain is a few long; one so long is no accident. */
const longestChain = 512;

export class TokenTable {
  readonly #texts: TextTable;
  readonly #slots: Int32Array;
  readonly #mask: number;

  private constructor(texts: TextTable, slots: Int32Array) {
    this.#texts = texts;
    this.#slots = slots;
    this.#mask = slots.length - 1;
  }

  /** The tokens that `isIn`; undefined where one stands twice, or the bytes were chosen so that looking them up takes long. */
  static of(texts: TextTable, isIn: (id: number) => boolean): TokenTable | undefined {
    const slots = new Int32Array(2 ** Math.ceil(Math.log2(2 * texts.length + 2))).fill(-1);
    const table = new TokenTable(texts, slots);
    for (let id = 0; id < texts.length; id += 1) {
      if (!isIn(id)) continue;
      const [begin, end] = [texts.begins[id]!, texts.ends[id]!];
      const slot = table.#slotOf(texts.bytes, begin, end, end, end);
      if (slot < 0 || slots[slot] !== -1) return undefined;
      slots[slot] = id;
    }
    return table;
  }

  /** Id of a text, -1 for none. */
  idOf(text: string): number {
    const bytes = Buffer.from(text);
    return this.idOfBytes(bytes, 0, bytes.length);
  }

  /** Id of bytes [begin, end), -1 for none. */
  idOfBytes(bytes: Uint8Array, begin: number, end: number): number {
    return this.idOfPair(bytes, begin, end, end, end);
  }

  /** Id of bytes [begin, end) followed by [nextBegin, nextEnd), -1 for none. */
  idOfPair(bytes: Uint8Array, begin: number, end: number, nextBegin: number, nextEnd: number): number {
    const slot = this.#slotOf(bytes, begin, end, nextBegin, nextEnd);
    return slot < 0 ? -1 : this.#slots[slot]!;
  }

  /** Where the token is or would be; -1 where the chain is too long. */
  #slotOf(bytes: Uint8Array, begin: number, end: number, nextBegin: number, nextEnd: number): number {
    const { bytes: own, begins, ends } = this.#texts;
    // FNV-1a, 32 bits, with a last mix: the lower bits choose the slot.
    let hash = 0x811c9dc5;
    for (let at = begin; at < end; at += 1) hash = Math.imul(hash ^ bytes[at]!, 0x01000193);
    for (let at = nextBegin; at < nextEnd; at += 1) hash = Math.imul(hash ^ bytes[at]!, 0x01000193);
    hash ^= hash >>> 15;
    const length = end - begin + nextEnd - nextBegin;
    let slot = hash & this.#mask;
    for (let tries = 0; tries < longestChain; tries += 1) {
      const id = this.#slots[slot]!;
      if (id === -1) return slot;
      const from = begins[id]!;
      if (ends[id]! - from === length) {
        let at = from;
        let theirs = begin;
        for (; theirs < end && own[at] === bytes[theirs]; at += 1) theirs += 1;
        if (theirs === end) {
          theirs = nextBegin;
          for (; theirs < nextEnd && own[at] === bytes[theirs]; at += 1) theirs += 1;
          if (theirs === nextEnd) return slot;
        }
      }
      slot = (slot + 1) & this.#mask;
    }
    return -1;
  }
}
