// The error that stands for a client that did not wait for its answer.
import { WindlassError } from '#runtime/api/errors.ts';

/** 499: the status that proxies log for a client that did not wait. */
export function clientGone(): WindlassError {
  return new WindlassError('WL_REQUEST_INVALID', 'the client closed the connection before the answer was complete', {
    details: { status: 499 },
  });
}
