// Gives sequences their cache blocks, and finds prefixes that other sequences have computed before.
import { hash as digest } from 'node:crypto';
import { BlockPool } from './block-pool.ts';
import type { Sequence } from './sequence.ts';

export interface BlockManagerOptions {
  readonly blocks: number;
  readonly blockSize: number;
  /** Whether full blocks are kept and found again by content. */
  readonly prefixCache: boolean;
  /** Start of every hash chain. Random in a server, so that nobody can compute colliding prompts beforehand. */
  readonly hashSeed: string;
}

/**
 * Blocks of sequences over a `BlockPool`. Blocks are offered to others when their tokens are scheduled, as a step writes before it reads; those of
 * long prompts, which are computed beside the steps, when they are there.
 */
export class BlockManager {
  readonly pool: BlockPool;
  readonly blockSize: number;
  /** Tokens looked up in the prefix cache, and found there. */
  readonly lookups = { queried: 0, hit: 0 };
  readonly #prefixCache: boolean;
  readonly #hashSeed: string;
  readonly #scratch: { bytes: Buffer; tokens: Int32Array };

  constructor(options: BlockManagerOptions) {
    this.pool = new BlockPool(options.blocks, options.blockSize);
    this.blockSize = options.blockSize;
    this.#prefixCache = options.prefixCache;
    this.#hashSeed = options.hashSeed;
    const memory = new ArrayBuffer(options.blockSize * 4 + digestBytes);
    this.#scratch = { bytes: Buffer.from(memory), tokens: new Int32Array(memory, 0, options.blockSize) };
  }

  /** Whether another sequence has yet to compute blocks that this one will find, so that it had better wait. */
  awaitsLeader({ leader, preemptions }: Sequence): boolean {
    if (!this.#prefixCache || !leader || preemptions > 0 || leader.status === 'finished') return false;
    return leader.computed < leader.promptLength;
  }

  /** Blocks that `tokens` tokens need. */
  blocksFor(tokens: number): number {
    return Math.ceil(tokens / this.blockSize);
  }

  /** Leading blocks of a sequence that the cache holds, without taking them. At least one token is left to compute. */
  findPrefix(sequence: Sequence): number[] {
    const hits: number[] = [];
    if (!this.#prefixCache || !sequence.readsCache) return hits;
    const full = Math.floor((sequence.tokens.length - 1) / this.blockSize);
    for (let index = 0; index < full; index += 1) {
      const block = this.pool.find(this.#hashOf(sequence, index), sequence.tokens, index * this.blockSize);
      if (block === undefined) break;
      hits.push(block);
    }
    return hits;
  }

  /** Blocks that must be available to hold all known tokens of a sequence, given the prefix found. Shared blocks in use cost nothing. */
  blocksToAdmit(sequence: Sequence, prefix: readonly number[]): number {
    const resting = prefix.filter((block) => this.pool.references(block) === 0).length;
    return this.blocksFor(sequence.tokens.length) - prefix.length + resting;
  }

  /** Gives the prefix found to a sequence that holds no blocks. */
  takePrefix(sequence: Sequence, prefix: readonly number[]): void {
    for (const block of prefix) this.pool.share(block);
    sequence.blocks.push(...prefix);
    sequence.computed = prefix.length * this.blockSize;
    sequence.offered = prefix.length;
    if (sequence.readsCache && sequence.preemptions === 0) {
      sequence.cached = sequence.computed;
      this.lookups.queried += sequence.tokens.length;
      this.lookups.hit += sequence.computed;
    }
  }

  /** Makes room for the first `length` tokens and offers the blocks that known ones fill. Takes nothing and returns false when blocks run out. */
  grow(sequence: Sequence, length: number): boolean {
    if (!this.reserve(sequence, length)) return false;
    this.offer(sequence, length);
    return true;
  }

  /** Makes room for the first `length` tokens. Takes nothing and returns false when blocks run out. */
  reserve(sequence: Sequence, length: number): boolean {
    const missing = this.blocksFor(length) - sequence.blocks.length;
    if (missing > this.pool.available) return false;
    for (let i = 0; i < missing; i += 1) sequence.blocks.push(this.pool.take()!);
    return true;
  }

  /** Offers the blocks that known ones of the first `length` tokens fill. */
  offer(sequence: Sequence, length: number): void {
    if (!this.#prefixCache) return;
    const full = Math.floor(Math.min(length, sequence.tokens.length) / this.blockSize);
    for (; sequence.offered < full; sequence.offered += 1) {
      const index = sequence.offered;
      this.pool.offer(sequence.blocks[index]!, this.#hashOf(sequence, index), sequence.tokens, index * this.blockSize);
    }
  }

  /** Gives a sequence whose tokens so far fill whole blocks those that others have computed since, in place of its own. */
  catchUp(sequence: Sequence): void {
    if (sequence.computed !== sequence.offered * this.blockSize) return;
    const found = this.findPrefix(sequence);
    for (let index = sequence.offered; index < found.length; index += 1) {
      this.pool.share(found[index]!);
      this.pool.release(sequence.blocks[index]!);
      sequence.blocks[index] = found[index]!;
    }
    const more = Math.max(0, found.length - sequence.offered);
    sequence.offered += more;
    sequence.computed += more * this.blockSize;
    if (sequence.preemptions > 0) return;
    sequence.cached += more * this.blockSize;
    this.lookups.hit += more * this.blockSize;
  }

  /** Gives all blocks back, the last first: the tail of a prefix is of less use than its head. */
  release(sequence: Sequence): void {
    for (let index = sequence.blocks.length - 1; index >= 0; index -= 1) this.pool.release(sequence.blocks[index]!);
    sequence.blocks.length = 0;
    sequence.computed = 0;
    sequence.offered = 0;
  }

  /** sha256 over the block's tokens and the hash before it; the salt enters with the first block, so it is in all of them. */
  #hashOf(sequence: Sequence, index: number): string {
    const { bytes, tokens } = this.#scratch;
    for (let known = sequence.hashes.length; known <= index; known += 1) {
      for (let i = 0; i < this.blockSize; i += 1) tokens[i] = sequence.tokens[known * this.blockSize + i]!;
      const parent = known === 0 ? digest('sha256', `${this.#hashSeed}/${sequence.salt}`, 'hex') : sequence.hashes[known - 1]!;
      bytes.write(parent, this.blockSize * 4, 'hex');
      sequence.hashes.push(digest('sha256', bytes, 'hex'));
    }
    return sequence.hashes[index]!;
  }
}

const digestBytes = 32;
