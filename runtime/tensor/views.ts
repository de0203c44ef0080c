// Tensors that share memory: stretches of a flat buffer, each under a shape of its own.
import { ops } from './device.ts';
import { adopt } from './scope.ts';
import type { Stream } from './stream.ts';
import { Tensor } from './tensor.ts';

/** Elements from `offset` of `of` under another shape, in the same memory, which lives until the last tensor on it is freed. Throws WL_OP_INVALID where they are not inside. */
export function view(of: Tensor, offset: number, shape: readonly number[], label = of.label): Tensor {
  return adopt(new Tensor(of.device, of.device.view(of, offset, shape), of.dtype, shape, label));
}

/** A view of f32 that `linear`, `embedding` and `crossEntropy` read as the bf16 numbers nearest to it, ties to even: weights whose masters it is of. */
export function roundedView(of: Tensor, offset: number, shape: readonly number[], label = of.label): Tensor {
  return adopt(new Tensor(of.device, of.device.viewRounded(of, offset, shape), of.dtype, shape, label));
}

/** to = from; f32, with as many elements, on the stream of the device if none is given. Not differentiable. */
export function copyInto(from: Tensor, to: Tensor, stream?: Stream): void {
  ops.copy(stream?.handle ?? from.device.stream, from.handle, to.handle);
  to.changed();
}
