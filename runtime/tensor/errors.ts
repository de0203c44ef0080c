// Turns errors of the compute core into errors with a code.
import { KernelError } from '#kernels/binding.ts';
import { WindlassError, toWindlassError } from '#runtime/api/errors.ts';

/** WL_OUT_OF_MEMORY, WL_OP_INVALID or WL_DEVICE_LOST, with the operation and shapes that the core names. */
export function toTensorError(error: unknown): WindlassError {
  if (!(error instanceof KernelError)) return toWindlassError(error);
  const code = error.outOfMemory ? 'WL_OUT_OF_MEMORY' : error.kind === 'invalid' ? 'WL_OP_INVALID' : 'WL_DEVICE_LOST';
  return new WindlassError(code, error.message, { cause: error, details: { operation: error.op } });
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
