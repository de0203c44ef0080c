// What the engine needs from whoever computes a step; the model runner on the addon, or a fake in tests.
import type { LogitRules } from './logit-rules.ts';
import type { Sampling, ScoredToken } from './request.ts';
import type { Chunk } from './scheduler.ts';
import type { CacheType } from '#runtime/tensor/main.ts';

/** A chunk of a step, with what is wanted from it. */
export interface Work {
  readonly chunk: Chunk;
  readonly sampling: Sampling;
  /** Applied to the logits before the draw; log-probabilities are those of the logits before. */
  readonly rules?: LogitRules;
  /** Most likely tokens to report beside the one drawn. */
  readonly topLogprobs: number;
  /** Score the prompt tokens that follow the chunk's rows, with this many most likely ones each. */
  readonly promptLogprobs?: number;
  /** Whether the chunk's last row and its drafts draw tokens, when the chunk is the last. */
  readonly draws: boolean;
}

export interface WorkResult {
  /** One token after the chunk, and one after each of its drafts: to be believed as far as the drafts before them are right. */
  readonly tokens?: readonly ScoredToken[];
  /** Scores of prompt tokens chunk.start + 1 ... chunk.start + chunk.count, as far as they belong to the prompt. */
  readonly prompt?: readonly ScoredToken[];
}

/** A step, computed some layers at a time; others may run in between. */
export interface Step {
  readonly layersLeft: number;
  /** Computes so many layers, of those that are left: the results if they were the last. A rejection loses the content of all blocks. */
  advance(layers: number): Promise<readonly WorkResult[] | undefined>;
  /** Frees what is kept from slice to slice; of no effect after the last. */
  close(): void;
}

export interface Runner {
  /** Cache blocks, and tokens in each. */
  readonly blocks: number;
  readonly blockSize: number;
  /** What keys and values are kept as, and the bytes of a block. */
  readonly cacheType: CacheType;
  readonly blockBytes: number;
  /** Begins a step, which computes all its chunks as one batch; results stand in the order of the work. */
  begin(work: readonly Work[]): Step;
  close(): void;
}
