// A sequence: the tokens known so far, how many of them the cache holds, and in which blocks.

/** waiting: not admitted yet. running: holds blocks. preempted: lost its blocks and waits again. finished: holds nothing, for good. */
type SequenceStatus = 'waiting' | 'running' | 'preempted' | 'finished';

export interface Sequence {
  readonly id: number;
  /** Extra key of the prefix cache: sequences share blocks only with sequences of the same salt. The server sets it, never the client. */
  readonly salt: string;
  /** Whether blocks may come from the prefix cache; off where every prompt position must be computed (prompt log-probabilities). */
  readonly readsCache: boolean;
  readonly promptLength: number;
  /** The sequence that computes the prompt for this one too, which waits until it has. */
  readonly leader: Sequence | undefined;
  /** Most tokens that this sequence can reach, prompt included. */
  readonly maxLength: number;
  /** Prompt and generated tokens. Generated tokens stay when the sequence is preempted. */
  readonly tokens: number[];
  /** Guesses for the tokens that follow, to be checked by the next step. */
  drafts: readonly number[];
  status: SequenceStatus;
  /** Leading tokens whose keys and values are in `blocks`, those of the step in flight included; guesses not, nor what is under way of a long prompt. */
  computed: number;
  /** Tokens that the prefix cache gave at the first admission, or while a long prompt waited for its turn. */
  cached: number;
  /** Block of the tokens [i * blockSize, (i + 1) * blockSize), for each i. */
  readonly blocks: number[];
  /** Leading blocks that were offered to the prefix cache or come from it. */
  offered: number;
  /** Chained hashes of the leading full blocks of `tokens`; grown on demand. */
  readonly hashes: string[];
  preemptions: number;
}

export interface SequenceInit {
  readonly id: number;
  readonly prompt: Iterable<number>;
  /** Tokens to generate at most; 0 where only the prompt is evaluated. */
  readonly maxTokens: number;
  readonly salt?: string;
  readonly readsCache?: boolean;
  readonly leader?: Sequence | undefined;
}

/** Shared, so that a step of many sequences makes no lists for nothing. */
export const noDrafts: readonly number[] = [];

/** A waiting sequence that holds no blocks. */
export function createSequence(init: SequenceInit): Sequence {
  const tokens = [...init.prompt];
  return {
    id: init.id,
    salt: init.salt ?? '',
    readsCache: init.readsCache ?? true,
    promptLength: tokens.length,
    leader: init.leader,
    maxLength: tokens.length + init.maxTokens,
    tokens,
    drafts: noDrafts,
    status: 'waiting',
    computed: 0,
    cached: 0,
    blocks: [],
    offered: 0,
    hashes: [],
    preemptions: 0,
  };
}

/** Number of generated tokens. */
export function completionLength(sequence: Sequence): number {
  return sequence.tokens.length - sequence.promptLength;
}
