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
  /** Most tokens of one sequence in the next step, whoever else there is; what needs more is a long prompt. Default: no limit. */
  readonly promptRows?: () => number;
  /** Blocks left untouched when a sequence joins running ones, so that these do not lose theirs at once. */
  readonly watermarkBlocks: number;
}

/** The tokens [start, start + count) of a sequence, to be computed in this step. */
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
 */
export class Scheduler {
  readonly blocks: BlockManager;
  readonly #options: SchedulerOptions;
  readonly #waiting: Sequence[] = [];
  readonly #running: Sequence[] = [];
  #preemptions = 0;
  /** Whether long prompts sat out the last step. */
  #gaveWay = false;

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
    this.blocks.release(sequence);
    sequence.status = 'finished';
  }

  /**
   * Plans the next step and counts its tokens as computed. Never empty while there is work. Long prompts sit out every other step for
   * short ones that have just come.
   */
  schedule(): Step {
    const chunks: Chunk[] = [];
    const preempted: Sequence[] = [];
    this.#gaveWay = !this.#gaveWay && this.#shortPromptWaits();
    const budget = this.#scheduleRunning(chunks, preempted, this.#gaveWay);
    if (preempted.length === 0) this.#admitWaiting(chunks, budget);
    // Whoever was to be let past had no room.
    if (chunks.length === 0) this.#scheduleRunning(chunks, preempted, false);
    return { chunks, preempted };
  }

  /** Whether the next to join has few tokens to compute, and room. */
  #shortPromptWaits(): boolean {
    if (this.#running.length >= this.#options.maxSequences) return false;
    const next = this.#waiting.find((sequence) => !this.blocks.awaitsLeader(sequence));
    if (!next) return false;
    const prefix = this.blocks.findPrefix(next);
    return next.tokens.length - prefix.length * this.blocks.blockSize <= this.#promptRows && this.#hasRoom(next, prefix);
  }

  #hasRoom(sequence: Sequence, prefix: readonly number[]): boolean {
    const reserve = this.#running.length > 0 ? this.#options.watermarkBlocks : 0;
    return this.blocks.blocksToAdmit(sequence, prefix) + reserve <= this.blocks.pool.available;
  }

  #isLong({ tokens, computed }: Sequence): boolean {
    return tokens.length - computed > this.#promptRows;
  }

  get #promptRows(): number {
    return this.#options.promptRows?.() ?? Infinity;
  }

  #scheduleRunning(chunks: Chunk[], preempted: Sequence[], givesWay: boolean): number {
    let budget = this.#options.maxBatchedTokens;
    for (let index = 0; index < this.#running.length && budget > 0; index += 1) {
      const sequence = this.#running[index]!;
      if (givesWay && this.#isLong(sequence)) continue;
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
    return Math.min(sequence.tokens.length - sequence.computed, budget, cap, this.#promptRows);
  }

  #preempt(sequence: Sequence): void {
    this.blocks.release(sequence);
    sequence.status = 'preempted';
    sequence.drafts = noDrafts;
    sequence.preemptions += 1;
    this.#preemptions += 1;
    this.#waiting.unshift(sequence);
  }
}

function commit(sequence: Sequence, count: number, drafts = noDrafts): Chunk {
  const start = sequence.computed;
  sequence.computed += count;
  sequence.drafts = noDrafts;
  return { sequence, start, count, last: sequence.computed === sequence.tokens.length, drafts };
}
