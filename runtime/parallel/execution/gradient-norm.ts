// The norm of the whole gradient, of which every rank has pieces: exact, so that it does not depend on who has which.
import { emptyIntegers, full, normOf, squaresMax, squaresSum } from '#runtime/tensor/main.ts';
import type { Communicator, Device, Stream, Tensor } from '#runtime/tensor/main.ts';

/**
 * [1], under the current scope, the same on all ranks of `group`, which together have each element once in their `gradients`.
 *
 * @param group absent: this rank has all of them.
 */
export function gradientNorm(
  device: Device,
  gradients: readonly Tensor[],
  compute: Stream,
  group: Communicator | undefined,
): Tensor {
  const counted = gradients.length > 0 ? gradients : [full(device, [1], 0)];
  const largest = squaresMax(device, counted);
  group?.allReduce(compute, largest, 'max', 'largest gradient');
  const own = squaresSum(device, counted, largest);
  if (!group) return normOf(own, largest);
  const all = emptyIntegers(device, [group.size, own.size], 'sums of squares');
  group.allGather(compute, own, all, 'sums of squares');
  return normOf(all, largest);
}
