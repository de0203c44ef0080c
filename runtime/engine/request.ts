// What a caller asks the engine for, and what it gets back.

/** How the next token is drawn from the logits, after `LogitRules`: temperature, then top-k, then top-p, then min-p, then the draw. */
export interface Sampling {
  /** 0 is greedy: the largest logit, the lowest id among equals. */
  readonly temperature: number;
  /** Keep the k most likely tokens; 0 keeps all. */
  readonly topK: number;
  /** Keep the smallest set of most likely tokens whose probability reaches this; 1 keeps all. */
  readonly topP: number;
  /** Keep tokens whose probability is at least this share of the largest; 0 keeps all. */
  readonly minP: number;
  /** The draw at a position depends on this seed and the position, on nothing else. */
  readonly seed: bigint;
}

export interface GenerateRequest {
  /** Token ids, at least one. */
  readonly prompt: readonly number[];
  /** Tokens to generate at most; default: what the context has left. 0 evaluates the prompt only. */
  readonly maxTokens?: number;
  /** Completions of the same prompt; default 1. */
  readonly n?: number;
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly minP?: number;
  /** Default: drawn anew for each request. Completion i uses a seed derived from it and i. */
  readonly seed?: number;
  /** Added to the logit of a token. */
  readonly logitBias?: ReadonlyMap<number, number>;
  /** Taken from the logit of each token that was generated. */
  readonly presencePenalty?: number;
  /** Taken from the logit of a token for each time that it was generated. */
  readonly frequencyPenalty?: number;
  /** Logits of tokens in prompt or completion are divided by this where positive, multiplied where negative; 1 changes nothing. */
  readonly repetitionPenalty?: number;
  /** Generation ends before the first of these texts. */
  readonly stop?: readonly string[];
  /** Generation ends with the first of these tokens, which is counted and not shown, as the end-of-text token is. */
  readonly stopTokens?: readonly number[];
  /** Nothing ends the first so many tokens: no end-of-text or stop token is drawn, and no stop text begins in them. */
  readonly minTokens?: number;
  /** Go on after the end-of-text token. */
  readonly ignoreEos?: boolean;
  /** Give log-probabilities: of each generated token, and of this many most likely ones. */
  readonly logprobs?: number;
  /** The same for the tokens of the prompt (all but the first). Such a request does not read the prefix cache. */
  readonly promptLogprobs?: number;
  /** Prefix-cache domain, e.g. the tenant. */
  readonly salt?: string;
}

interface TokenLogprob {
  readonly id: number;
  /** Natural log of the probability under the raw logits, before temperature and filters. */
  readonly logprob: number;
}

export interface ScoredToken extends TokenLogprob {
  /** Most likely tokens at this place, most likely first; empty unless asked for. */
  readonly top: readonly TokenLogprob[];
}

/** `stop`: end-of-text token, stop token or stop text. `length`: maxTokens reached. */
export type FinishReason = 'stop' | 'length';

export interface Usage {
  readonly promptTokens: number;
  readonly completionTokens: number;
  /** Prompt tokens that came from the prefix cache. */
  readonly cachedTokens: number;
}

/** A piece of one completion. Pieces that nobody has fetched yet are joined, so a slow reader holds one per completion. */
export interface Output {
  /** Which of the `n` completions. */
  readonly index: number;
  /** Text to append. Parts of a character and possible beginnings of a stop text are held back. */
  readonly text: string;
  /** Generated tokens whose text is complete with this piece. */
  readonly tokens: readonly ScoredToken[];
  /** Sum of the log-probabilities of all tokens drawn so far, that which ends the completion included: `usage.completionTokens` of them. */
  readonly drawnLogprob: number;
  /** Scores of prompt tokens 1, 2, ...; on the first piece of completion 0, if asked for. */
  readonly prompt?: readonly ScoredToken[];
  /** Set on the last piece of a completion. */
  readonly finishReason?: FinishReason;
  readonly usage: Usage;
}

/** The seed of completion `index`: the request's own for the first, so that n = 1 and n > 1 agree on it. */
export function completionSeed(seed: bigint, index: number): bigint {
  return BigInt.asUintN(64, seed + BigInt(index) * 0x9e3779b97f4a7c15n);
}
