// Turns errors of the compute core into errors with a code.
import { KernelError } from '#kernels/binding.ts';
import { WindlassError, toWindlassError } from '#runtime/api/errors.ts';
import type { ErrorCode } from '#runtime/api/errors.ts';

/** An error with the code that fits, and the operation and shapes that the core names. */
export function toTensorError(error: unknown): WindlassError {
  if (!(error instanceof KernelError)) return toWindlassError(error);
  return new WindlassError(codeOf(error), error.message, { cause: error, details: { operation: error.op } });
}

function codeOf({ comm, outOfMemory, kind }: KernelError): ErrorCode {
  // Whatever a rank meets because of another one is no fault of its own: the agents look for the first cause.
  if (comm) return comm.reason === 'mismatch' ? 'WL_COLLECTIVE_MISMATCH' : 'WL_RANK_LOST';
  if (outOfMemory) return 'WL_OUT_OF_MEMORY';
  return kind === 'invalid' ? 'WL_OP_INVALID' : 'WL_DEVICE_LOST';
}

/** `fn` with its errors turned by `toTensorError`. */
export function guarded<A extends readonly unknown[], R>(fn: (...args: A) => R): (...args: A) => R {
  return (...args) => {
    try {
      return fn(...args);
    } catch (error) {
      throw toTensorError(error);
    }
  };
}
