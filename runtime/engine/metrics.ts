// What the engine counts, and whom it tells about times. No metrics library here: the server maps these to its own.
import type { WindlassError } from '#runtime/api/errors.ts';
import type { FinishReason } from './request.ts';
import type { Sequence } from './sequence.ts';
import type { CacheType } from '#runtime/tensor/main.ts';

export interface EngineCounters {
  steps: number;
  requests: number;
  /** Prompt tokens of sequences whose prompt was evaluated, cached ones included. */
  promptTokens: number;
  generationTokens: number;
  /** Steps of sequences with guesses, tokens guessed, and those that were right. */
  drafts: number;
  draftTokens: number;
  acceptedTokens: number;
  /** Completions by how they ended. */
  readonly finished: Record<FinishReason | 'abort' | 'error', number>;
}

export interface EngineStats extends Readonly<EngineCounters> {
  readonly running: number;
  readonly waiting: number;
  readonly preemptions: number;
  /** Cache blocks in all, and those that sequences hold. */
  readonly blocks: number;
  readonly usedBlocks: number;
  /** What keys and values are kept as, and what all blocks take. */
  readonly cacheType: CacheType;
  readonly cacheBytes: number;
  /** Tokens looked up in the prefix cache, and found. */
  readonly prefixQueries: number;
  readonly prefixHits: number;
}

/** Told as things happen; times in seconds. */
export interface EngineObserver {
  firstToken?(afterArrival: number): void;
  nextToken?(afterToken: number): void;
  /** A completion ended by itself. */
  finished?(reason: FinishReason, afterArrival: number, sequence: Sequence): void;
  /** The engine ended: a step failed. */
  failed?(error: WindlassError): void;
}

export function emptyCounters(): EngineCounters {
  return {
    steps: 0,
    requests: 0,
    promptTokens: 0,
    generationTokens: 0,
    drafts: 0,
    draftTokens: 0,
    acceptedTokens: 0,
    finished: { stop: 0, length: 0, abort: 0, error: 0 },
  };
}
