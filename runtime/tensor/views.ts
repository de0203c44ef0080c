// Tensors that share memory: stretches of a flat buffer, each under a shape of its own.
import { adopt } from './scope.ts';
import { Tensor } from './tensor.ts';

/** Elements from `offset` of `of` under another shape, in the same memory, which lives until the last tensor on it is freed. Throws WL_OP_INVALID where they are not inside. */
export function view(of: Tensor, offset: number, shape: readonly number[], label = of.label): Tensor {
  return adopt(new Tensor(of.device, of.device.view(of, offset, shape), of.dtype, shape, label));
}
