// The pool of cache blocks: reference counts, content hashes, and a free list in order of last use.
import { WindlassError } from '#runtime/api/errors.ts';

/**
 * A block is `used` (referenced), `cached` (unreferenced, content kept under its hash) or `free` (unreferenced, content worthless).
 * Unreferenced blocks stand in one doubly linked list: the front is taken next, the back was used last. A cached block loses its
 * hash only when it is taken for something else.
 */
export class BlockPool {
  readonly size: number;
  readonly blockSize: number;
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  readonly #references: Int32Array;
  readonly #hashes: (string | undefined)[];
  readonly #tokens: Int32Array;
  readonly #byHash = new Map<string, number>();
  #available: number;

  constructor(size: number, blockSize: number) {
    this.size = size;
    this.blockSize = blockSize;
    // Entry `size` is the head of the ring: its next is the front of the list, its previous the back.
    this.#next = Int32Array.from({ length: size + 1 }, (_, block) => (block + 1) % (size + 1));
    this.#previous = Int32Array.from({ length: size + 1 }, (_, block) => (block + size) % (size + 1));
    this.#references = new Int32Array(size);
    this.#hashes = Array.from({ length: size });
    this.#tokens = new Int32Array(size * blockSize);
    this.#available = size;
  }

  /** Blocks that can be taken: free and cached ones. */
  get available(): number {
    return this.#available;
  }

  get used(): number {
    return this.size - this.#available;
  }

  references(block: number): number {
    return this.#references[block]!;
  }

  /** Takes the block at the front of the list and forgets what it held. Undefined when all blocks are used. */
  take(): number | undefined {
    if (this.#available === 0) return undefined;
    const block = this.#next[this.size]!;
    this.#unlink(block);
    this.#forget(block);
    this.#references[block] = 1;
    return block;
  }

  /** Adds a reference to a block that `find` gave. */
  share(block: number): void {
    if (this.#references[block] === 0) this.#unlink(block);
    this.#references[block]! += 1;
  }

  /** Drops a reference. The last one puts the block on the list: at the back if its content may be asked for again, else at the front. */
  release(block: number): void {
    if (this.#references[block]! <= 0)
      throw new WindlassError('WL_INTERNAL', `cache block ${block} was released more often than taken`);
    this.#references[block]! -= 1;
    if (this.#references[block]! > 0) return;
    if (this.#hashes[block] === undefined) this.#link(block, this.size, this.#next[this.size]!);
    else this.#link(block, this.#previous[this.size]!, this.size);
  }

  /** Offers a full block under its hash. A block whose content stands under another block already stays private. */
  offer(block: number, hash: string, tokens: readonly number[], offset: number): void {
    if (this.#byHash.has(hash)) return;
    this.#hashes[block] = hash;
    this.#byHash.set(hash, block);
    const base = block * this.blockSize;
    for (let i = 0; i < this.blockSize; i += 1) this.#tokens[base + i] = tokens[offset + i]!;
  }

  /** The block that holds this content. The tokens are compared as well, so a collision of hashes is a miss. */
  find(hash: string, tokens: readonly number[], offset: number): number | undefined {
    const block = this.#byHash.get(hash);
    if (block === undefined) return undefined;
    const base = block * this.blockSize;
    for (let i = 0; i < this.blockSize; i += 1) if (this.#tokens[base + i] !== tokens[offset + i]) return undefined;
    return block;
  }

  /** Forgets all cached content: after the weights changed, or after a step that failed half way. */
  reset(): void {
    for (let block = 0; block < this.size; block += 1) this.#forget(block);
  }

  /** Counts by walking everything, and throws WL_INTERNAL unless free + cached + used = size and every link and hash agrees. */
  check(): { free: number; cached: number; used: number } {
    const counts = { free: 0, cached: 0, used: 0 };
    const listed = new Set<number>();
    for (let block = this.#next[this.size]!; block !== this.size; block = this.#next[block]!) {
      if (listed.has(block) || this.#previous[this.#next[block]!] !== block)
        throw broken(`the free list is torn at block ${block}`);
      listed.add(block);
    }
    for (let block = 0; block < this.size; block += 1) {
      const hash = this.#hashes[block];
      if (hash !== undefined && this.#byHash.get(hash) !== block) throw broken(`block ${block} has a hash that leads elsewhere`);
      const references = this.#references[block]!;
      if (references < 0 || references > 0 === listed.has(block)) throw broken(`block ${block} has ${references} references`);
      counts[references > 0 ? 'used' : hash === undefined ? 'free' : 'cached'] += 1;
    }
    if (listed.size !== this.#available) throw broken(`${listed.size} blocks are listed, ${this.#available} counted`);
    if (this.#byHash.size > this.size) throw broken('there are more hashes than blocks');
    return counts;
  }

  #forget(block: number): void {
    const hash = this.#hashes[block];
    if (hash === undefined) return;
    this.#byHash.delete(hash);
    this.#hashes[block] = undefined;
  }

  #unlink(block: number): void {
    const next = this.#next[block]!;
    const previous = this.#previous[block]!;
    this.#next[previous] = next;
    this.#previous[next] = previous;
    this.#available -= 1;
  }

  #link(block: number, previous: number, next: number): void {
    this.#next[previous] = block;
    this.#previous[block] = previous;
    this.#next[block] = next;
    this.#previous[next] = block;
    this.#available += 1;
  }
}

function broken(what: string): WindlassError {
  return new WindlassError('WL_INTERNAL', `the cache block pool is inconsistent: ${what}`);
}
