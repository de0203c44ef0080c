// Weights packed into the panels of the matrix product, once, for inference.
import { packedSize as panelElements } from '#kernels/binding.ts';
import { empty } from './create.ts';
import { ops } from './device.ts';
import { unscoped } from './scope.ts';
import type { Parameter } from './tensor.ts';

/** Elements of the packed form of a weight [n, k]. */
export function packedSize(n: number, k: number): number {
  return panelElements(n, k);
}

/** Packs w [N, K]; from then on, until w changes, `linear` uses the packed form where nothing is recorded: the same bits, sooner. */
export function packWeight(w: Parameter): void {
  const [n = 0, k = 0] = w.shape;
  w.packed ??= unscoped(() => empty(w.device, [packedSize(n, k)], `packed ${w.label}`));
  ops.linear_pack(w.device.stream, w.handle, w.packed.handle);
}
