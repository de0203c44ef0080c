// Decides what each step computes: one token budget for prompts and generated tokens alike. Pure bookkeeping, no model.
import { WindlassError } from '#runtime/api/errors.ts';
import type { BlockManager } from './block-manager.ts';
import { noDrafts } from './sequence.ts';
import type { Sequence } from './sequence.ts';

export interface SchedulerOptions {
  /** Sequences that may hold blocks at the same time. */
  readonly maxSequences: number;
  /** Tokens that one step computes at most, over all sequences. */
  readonly maxBatchedTokens: number;
  /** Most tokens of one sequence in a step while others want a share; keeps a long prompt from holding up the rest. */
  readonly maxChunkAmongOthers: number;
  /** Most tokens of a prompt that are computed in steps together with other sequences; one with more is long. Default: no limit. */
  readonly shortRows?: () => number;
  /** Most tokens of a long prompt that are computed together. Default: as many as a step may have. */
  readonly longRows?: () => number;
  /** Blocks left untouched when a sequence joins running ones, so that these do not lose theirs at once. */
  readonly watermarkBlocks: number;
}

/** The tokens [start, start + count) of a sequence, to be computed together. */
export interface Chunk {
  readonly sequence: Sequence;
  readonly start: number;
  readonly count: number;
  /** Whether all known tokens are computed then, so that the next one can be drawn. */
  readonly last: boolean;
  /** Guesses for the tokens after those, computed too: each that turns out right saves a step. Only in a last chunk. */
  readonly drafts: readonly number[];
}

export interface Step {
  readonly chunks: readonly Chunk[];
  /** Sequences that lost their blocks to make room. */
  readonly preempted: readonly Sequence[];
}

/**
 * There is no prompt phase and no generation phase: each sequence has tokens known and tokens computed, and every step lets the
 * second catch up with the first, running sequences first, in order of arrival. When blocks run out the youngest running sequence
 * gives all of its own back and returns to the head of the queue; its tokens are computed again later (mostly found in the cache).
 *
 * A sequence that has much to catch up with is a long prompt. It takes no part in steps: its tokens are computed beside them, a part of the
 * layers at a time, so that nobody waits for all of it. One is under way at a time; the oldest and the shortest of them take turns.
 */
export class Scheduler {
  readonly blocks: BlockManager;
  readonly #options: SchedulerOptions;
  readonly #waiting: Sequence[] = [];
  readonly #running: Sequence[] = [];
  #preemptions = 0;
  /** What is computed of a long prompt beside the steps. */
  #longChunk: Chunk | undefined;
  /** Whether it was the turn of the oldest long prompt. */
  #oldestHadTurn = false;

  constructor(blocks: BlockManager, options: SchedulerOptions) {
    this.blocks = blocks;
    this.#options = options;
  }

  get waiting(): readonly Sequence[] {
    return this.#waiting;
  }

  get running(): readonly Sequence[] {
    return this.#running;
  }

  /** Preemptions so far. */
  get preemptions(): number {
    return this.#preemptions;
  }

  hasWork(): boolean {
    return this.#running.length > 0 || this.#waiting.length > 0;
  }

  /** Queues a sequence. Throws WL_PROMPT_TOO_LONG if the whole pool could not hold it: it would wait for ever. */
  add(sequence: Sequence): void {
    const needed = this.blocks.blocksFor(sequence.maxLength);
    if (needed > this.blocks.pool.size) {
      const room = this.blocks.pool.size * this.blocks.blockSize;
      throw new WindlassError(
        'WL_PROMPT_TOO_LONG',
        `${sequence.promptLength} prompt tokens and ${sequence.maxLength - sequence.promptLength} tokens to generate do not fit into the ${room} tokens of the cache`,
        { details: { limit: room } },
      );
    }
    this.#waiting.push(sequence);
  }

  /** Ends a sequence, whatever its status, and gives its blocks back at once. Harmless when it has ended before. */
  finish(sequence: Sequence): void {
    if (sequence.status === 'finished') return;
    const list = sequence.status === 'running' ? this.#running : this.#waiting;
    const index = list.indexOf(sequence);
    if (index >= 0) list.splice(index, 1);
    this.#release(sequence);
    sequence.status = 'finished';
  }

  /** Plans the next step and counts its tokens as computed. While there is work it is empty only if there are long prompts. */
  schedule(): Step {
    const chunks: Chunk[] = [];
    const preempted: Sequence[] = [];
    const budget = this.#scheduleRunning(chunks, preempted);
    if (preempted.length === 0) this.#admitWaiting(chunks, budget);
    return { chunks, preempted };
  }

  /**
   * The tokens of a long prompt to be computed beside the steps: those under way, or the next. They count as computed, and others find them,
   * once `completeLong` is called; until then another answer than before means that they lost their blocks, and must not be gone on with.
   */
  scheduleLong(): Chunk | undefined {
    if (this.#longChunk) return this.#longChunk;
    const sequence = this.#nextLong();
    if (!sequence) return undefined;
    this.blocks.catchUp(sequence);
    const { computed: start, tokens } = sequence;
    const most = Math.min(this.#options.maxBatchedTokens, this.#options.longRows?.() ?? Infinity);
    const count = this.#evenPart(start, tokens.length, most);
    this.#longChunk = { sequence, start, count, last: start + count === tokens.length, drafts: noDrafts };
    return this.#longChunk;
  }

  /** Takes note that what `scheduleLong` gave is computed; false where it has lost its blocks since. */
  completeLong(chunk: Chunk): boolean {
    if (this.#longChunk !== chunk) return false;
    const { sequence } = chunk;
    this.#longChunk = undefined;
    sequence.computed += chunk.count;
    this.blocks.offer(sequence, sequence.computed);
    return true;
  }

  /** How many of the tokens from start to end are computed next, if there are to be as few parts as possible: whole blocks, if it can be. */
  #evenPart(start: number, end: number, most: number): number {
    const left = end - start;
    const count = Math.ceil(left / Math.ceil(left / most));
    const beyond = count < left ? (start + count) % this.blocks.blockSize : 0;
    return count > beyond ? count - beyond : count;
  }

  #nextLong(): Sequence | undefined {
    const all = this.#running.filter((sequence) => this.#isLong(sequence));
    this.#oldestHadTurn = !this.#oldestHadTurn;
    if (this.#oldestHadTurn) return all[0];
    return all.reduce<Sequence | undefined>((best, next) => (best && leftOf(best) <= leftOf(next) ? best : next), undefined);
  }

  #hasRoom(sequence: Sequence, prefix: readonly number[]): boolean {
    const reserve = this.#running.length > 0 ? this.#options.watermarkBlocks : 0;
    return this.blocks.blocksToAdmit(sequence, prefix) + reserve <= this.blocks.pool.available;
  }

  #isLong(sequence: Sequence): boolean {
    return sequence === this.#longChunk?.sequence || leftOf(sequence) > (this.#options.shortRows?.() ?? Infinity);
  }

  #scheduleRunning(chunks: Chunk[], preempted: Sequence[]): number {
    let budget = this.#options.maxBatchedTokens;
    for (let index = 0; index < this.#running.length && budget > 0; index += 1) {
      const sequence = this.#running[index]!;
      if (this.#isLong(sequence)) continue;
      const count = this.#chunkSize(sequence, budget);
      const drafts = this.#draftsFor(sequence, count, budget - (this.#running.length - index - 1));
      if (drafts.length > 0 && this.blocks.grow(sequence, sequence.computed + count + drafts.length)) {
        chunks.push(commit(sequence, count, drafts));
        budget -= count + drafts.length;
        continue;
      }
      while (!this.blocks.grow(sequence, sequence.computed + count)) {
        const victim = this.#running.pop()!;
        this.#preempt(victim);
        preempted.push(victim);
        if (victim === sequence) return budget;
      }
      chunks.push(commit(sequence, count));
      budget -= count;
    }
    return budget;
  }

  #admitWaiting(chunks: Chunk[], budget: number): void {
    let left = budget;
    for (let at = 0; left > 0 && at < this.#waiting.length && this.#running.length < this.#options.maxSequences;) {
      const sequence = this.#waiting[at]!;
      if (this.blocks.awaitsLeader(sequence)) {
        at += 1;
        continue;
      }
      const prefix = this.blocks.findPrefix(sequence);
      if (!this.#hasRoom(sequence, prefix)) return;
      this.#waiting.splice(at, 1);
      this.#running.push(sequence);
      sequence.status = 'running';
      this.blocks.takePrefix(sequence, prefix);
      if (this.#isLong(sequence)) {
        this.blocks.reserve(sequence, sequence.tokens.length);
        continue;
      }
      const count = this.#chunkSize(sequence, left);
      this.blocks.grow(sequence, sequence.computed + count);
      chunks.push(commit(sequence, count));
      left -= count;
    }
  }

  /** The guesses that fit into a step of which `budget` tokens are left for this sequence. */
  #draftsFor(sequence: Sequence, count: number, budget: number): readonly number[] {
    if (sequence.drafts.length === 0 || sequence.computed + count < sequence.tokens.length) return noDrafts;
    return sequence.drafts.slice(0, Math.max(0, budget - count));
  }

  #chunkSize(sequence: Sequence, budget: number): number {
    const alone = this.#running.length + this.#waiting.length <= 1;
    const cap = alone ? this.#options.maxBatchedTokens : this.#options.maxChunkAmongOthers;
    return Math.min(leftOf(sequence), budget, cap);
  }

  #release(sequence: Sequence): void {
    if (sequence === this.#longChunk?.sequence) this.#longChunk = undefined;
    this.blocks.release(sequence);
  }

  #preempt(sequence: Sequence): void {
    this.#release(sequence);
    sequence.status = 'preempted';
    sequence.drafts = noDrafts;
    sequence.preemptions += 1;
    this.#preemptions += 1;
    this.#waiting.unshift(sequence);
  }
}

/** Known tokens that are not computed yet. */
function leftOf({ tokens, computed }: Sequence): number {
  return tokens.length - computed;
}

function commit(sequence: Sequence, count: number, drafts = noDrafts): Chunk {
  const start = sequence.computed;
  sequence.computed += count;
  sequence.drafts = noDrafts;
  return { sequence, start, count, last: sequence.computed === sequence.tokens.length, drafts };
}
