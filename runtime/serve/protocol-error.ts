// Errors as the OpenAI protocol shapes them, and the HTTP status of each code.
import { toWindlassError } from '#runtime/api/errors.ts';
import type { ErrorCode, WindlassError } from '#runtime/api/errors.ts';

export interface ProtocolError {
  readonly status: number;
  readonly retry: boolean;
  readonly body: {
    readonly error: { readonly message: string; readonly type: string; readonly param: string | null; readonly code: string };
  };
}

const statuses: Partial<Record<ErrorCode, number>> = {
  WL_REQUEST_INVALID: 400,
  WL_PROMPT_TOO_LONG: 400,
  WL_OBJECT_NOT_FOUND: 404,
  WL_REQUEST_TOO_LARGE: 413,
  WL_OVERLOADED: 429,
  WL_DRAINING: 503,
  WL_LOADING: 503,
};

/** Shapes anything thrown. Faults of the server keep their cause to themselves: it goes to the log, not to the client. */
export function toProtocolError(thrown: unknown): ProtocolError {
  const error = toWindlassError(thrown);
  const status = error.details['status'] ?? statuses[error.code] ?? 500;
  const message =
    status === 500 && error.code === 'WL_INTERNAL' ? 'an internal error; the log of the server has its cause' : error.message;
  return {
    status: Number(status),
    retry: status === 429 || status === 503,
    body: { error: { message, type: typeOf(Number(status)), param: paramOf(error), code: error.code } },
  };
}

function typeOf(status: number): string {
  if (status === 429) return 'rate_limit_error';
  return status >= 500 ? 'server_error' : 'invalid_request_error';
}

function paramOf(error: WindlassError): string | null {
  const { param } = error.details;
  return typeof param === 'string' ? param : null;
}
