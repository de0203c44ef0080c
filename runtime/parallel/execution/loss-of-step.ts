// The loss of a step: those of all grains added in the tree over them, whichever rank computed which.
import { addInto, copyInto, empty, view } from '#runtime/tensor/main.ts';
import type { Stream, Tensor } from '#runtime/tensor/main.ts';
import { GradientTree } from './gradient-tree.ts';
import { grainNumbers } from './grains.ts';
import type { Mesh } from './mesh.ts';

/** [1], under the current scope, the same on all data ranks. `own`: of each grain of this rank, [1], in its order. */
export function lossOfStep(own: readonly Tensor[], { layout, data }: Mesh, compute: Stream): Tensor {
  const { device } = own[0]!;
  const mine = empty(device, [own.length], 'losses of grains');
  for (const [index, loss] of own.entries()) copyInto(loss, view(mine, index, [1]));
  const all = data ? empty(device, [own.length * data.size], 'losses of all grains') : mine;
  data?.allGather(compute, mine, all, 'losses of grains');
  const { dataShard } = layout.parallelism;
  const numbers = Array.from({ length: layout.dataRanks }, (_, rank) =>
    grainNumbers(own.length * layout.dataRanks, layout.parallelism, {
      replicate: Math.floor(rank / dataShard),
      shard: rank % dataShard,
    }),
  ).flat();
  const places = numbers.map((grain, place) => ({ grain, place })).sort((a, b) => a.grain - b.grain);
  const tree = new GradientTree<Tensor>((older, newer) => {
    addInto(older, newer);
    return older;
  });
  for (const { place } of places) tree.add(view(all, place, [1], 'loss'));
  return tree.finish();
}
