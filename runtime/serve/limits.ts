// The one table of limits of the server, each enforced before the engine sees the request.

export interface ServerLimits {
  readonly headerBytes: number;
  readonly bodyBytes: number;
  /** Nesting of arrays and objects in a body, and keys of all its objects together. */
  readonly jsonDepth: number;
  readonly jsonKeys: number;
  /** Completions per prompt, prompts per request, messages per conversation. */
  readonly n: number;
  readonly prompts: number;
  readonly messages: number;
  readonly stopStrings: number;
  readonly stopBytes: number;
  /** Tokens that `stop_token_ids` and `logit_bias` may name. */
  readonly stopTokens: number;
  readonly biases: number;
  readonly topLogprobs: number;
  /** Time for the headers, for the whole request, and between requests of a connection. */
  readonly headerTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly idleTimeoutMs: number;
  /** Time that a client may leave a full send buffer unread before its request is aborted. */
  readonly stalledReaderMs: number;
  /** Sequences that wait for the engine; one more request is refused with 429. */
  readonly waitingSequences: number;
  /** What Retry-After says. */
  readonly retryAfterSeconds: number;
}

export const defaultLimits: ServerLimits = {
  headerBytes: 16 * 1024,
  bodyBytes: 4 * 1024 * 1024,
  jsonDepth: 64,
  jsonKeys: 10_000,
  n: 8,
  prompts: 64,
  messages: 2048,
  stopStrings: 16,
  stopBytes: 128,
  stopTokens: 256,
  biases: 1024,
  topLogprobs: 20,
  headerTimeoutMs: 10_000,
  requestTimeoutMs: 30_000,
  idleTimeoutMs: 60_000,
  stalledReaderMs: 60_000,
  waitingSequences: 1024,
  retryAfterSeconds: 1,
};
