// Errors of the API, asked for their meaning rather than their number.
import type { Fault } from '#crds/faults.ts';

export type KubeErrorReason =
  | 'NotFound'
  | 'AlreadyExists'
  | 'Conflict'
  | 'Invalid'
  | 'BadRequest'
  | 'Unauthorized'
  | 'Forbidden'
  | 'TooLarge'
  | 'Expired'
  | 'TooManyRequests'
  | 'Internal'
  | 'Unavailable'
  | 'Timeout';

const statusOf: Record<KubeErrorReason, number> = {
  BadRequest: 400,
  Unauthorized: 401,
  Forbidden: 403,
  NotFound: 404,
  AlreadyExists: 409,
  Conflict: 409,
  Expired: 410,
  TooLarge: 413,
  Invalid: 422,
  TooManyRequests: 429,
  Internal: 500,
  Unavailable: 503,
  Timeout: 504,
};

interface KubeErrorOptions {
  faults?: readonly Fault[];
  retryAfterMs?: number | undefined;
  cause?: unknown;
}

/** What the API answered instead of an object. */
export class KubeError extends Error {
  readonly reason: KubeErrorReason;
  readonly status: number;
  /** Fields that were refused, when the reason is Invalid. */
  readonly faults: readonly Fault[];
  /** How long the server asks to wait. */
  readonly retryAfterMs: number | undefined;

  constructor(reason: KubeErrorReason, message: string, options: KubeErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'KubeError';
    this.reason = reason;
    this.status = statusOf[reason];
    this.faults = options.faults ?? [];
    this.retryAfterMs = options.retryAfterMs;
  }
}

const is = (error: unknown, reason: KubeErrorReason) => error instanceof KubeError && error.reason === reason;

export const isNotFound = (error: unknown): boolean => is(error, 'NotFound');
export const isAlreadyExists = (error: unknown): boolean => is(error, 'AlreadyExists');
/** The object changed since it was read, or is another one of the same name. */
export const isConflict = (error: unknown): boolean => is(error, 'Conflict');
/** The version asked for is no longer in the watch window. */
export const isExpired = (error: unknown): boolean => is(error, 'Expired');
/** The client may not, or a quota or policy says no. */
export const isForbidden = (error: unknown): error is KubeError => is(error, 'Forbidden');
export const isInvalid = (error: unknown): error is KubeError => is(error, 'Invalid');
