// Filling tensors from files without a copy in JavaScript.
import * as kernels from '#kernels/binding.ts';
import { WindlassError } from '#runtime/api/errors.ts';
import { toTensorError } from './errors.ts';
import type { Tensor } from './tensor.ts';

/**
 * Fills a tensor with the bytes from `position` of an open file, in the order of what is enqueued on its device; the file must stay open until
 * the call returns only. Resolves with whether the file has all of them. Throws WL_IO.
 */
export async function readFileInto(tensor: Tensor, file: number, position: number): Promise<boolean> {
  tensor.changed();
  try {
    return (await kernels.readFile(tensor.device.stream, tensor.handle, file, position)) >= 0;
  } catch (error) {
    const fault = toTensorError(error);
    if (fault.code !== 'WL_DEVICE_LOST') throw fault;
    throw new WindlassError('WL_IO', fault.message, { cause: error });
  }
}
