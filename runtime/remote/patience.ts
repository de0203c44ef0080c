// How long a server is waited for: which faults may pass, the pause before the next try, and when it is enough. Pure.

export interface Patience {
  /** Pause after the first fault; each further one doubles it. */
  readonly firstPauseMs: number;
  readonly longestPauseMs: number;
  /** A server that wants to be left alone for longer (Retry-After) is not waited for. */
  readonly longestRetryAfterMs: number;
  /** Time without a new byte after which it is given up. Shorter than what ranks may prepare without a sign of advance. */
  readonly fruitlessMs: number;
  /** Tries that are made even so: one may take longer than that. */
  readonly leastTries: number;
  /** Longest wait for the head of an answer. */
  readonly answerMs: number;
  /** A body must bring `slowestBytes` in this time, or its connection counts as lost. */
  readonly stallMs: number;
  readonly slowestBytes: number;
}

export const patience: Patience = {
  firstPauseMs: 1000,
  longestPauseMs: 60_000,
  longestRetryAfterMs: 300_000,
  fruitlessMs: 480_000,
  leastTries: 3,
  answerMs: 60_000,
  stallMs: 60_000,
  slowestBytes: 65_536,
};

/** A fault that may pass by itself. */
export class Setback extends Error {
  /** What the server asked for. */
  readonly retryAfterMs: number | undefined;

  constructor(message: string, options: { cause?: unknown; retryAfterMs?: number | undefined } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'Setback';
    this.retryAfterMs = options.retryAfterMs;
  }
}

/**
 * The pause before the next try, after `faults` of them in a row (from 1) in `fruitlessMs` without a new byte; undefined: enough. `random`: 0 to 1;
 * the half of the pause that it scales keeps the pods of many jobs from coming back together.
 */
export function pauseAfter(
  faults: number,
  fruitlessMs: number,
  retryAfterMs: number | undefined,
  limits: Patience,
  random: number,
): number | undefined {
  if (retryAfterMs !== undefined && retryAfterMs > limits.longestRetryAfterMs) return undefined;
  const doubled = Math.min(limits.longestPauseMs, limits.firstPauseMs * 2 ** Math.min(faults - 1, 30));
  const pause = Math.max(doubled * (0.5 + random / 2), retryAfterMs ?? 0);
  return faults >= limits.leastTries && fruitlessMs + pause > limits.fruitlessMs ? undefined : pause;
}

/** Milliseconds that a Retry-After header asks for: seconds, or a date (RFC 9110, 10.2.3). */
export function retryAfter(header: string | undefined, now: number): number | undefined {
  if (header === undefined) return undefined;
  if (/^\s*\d+\s*$/.test(header)) return Number(header) * 1000;
  const date = Date.parse(header);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}

/** Whether a status says that another time may be better. */
export function mayPass(status: number): boolean {
  return status === 408 || status === 425 || status === 429 || status >= 500;
}
