// Which tensors a model that only serves consists of, and where each lies in a file of packed weights. Pure.
import { mapAlignment, packedSize, quantizedBytes, quantizedPanelBytes } from '#runtime/tensor/main.ts';
import type { QuantType } from '#runtime/tensor/main.ts';
import { parameterSpecs } from '../parameters.ts';
import { quantTypeOf, useOf } from '../served-model.ts';
import type { WeightSource } from '../weight-source.ts';

/** `plain`: values in f32; `packed`: the panels of f32 products; `panels` and `blocks`: those of a quantised weight, and its rows. */
type PackedRole = 'plain' | 'packed' | 'panels' | 'blocks';

export interface PackedTensor {
  readonly parameter: string;
  readonly role: PackedRole;
  readonly type: QuantType | undefined;
  readonly dtype: 'f32' | 'u8';
  readonly shape: readonly number[];
  /** From the beginning of the file. */
  readonly offset: number;
  readonly bytes: number;
}

/** The head of the file, before the first tensor: a page, so that tensors begin with one. */
export const packedHeadBytes = 4096;

/** The tensors of the model of `source` in the order of its parameters. */
export function packedLayout(source: Pick<WeightSource, 'config' | 'typeOf'>): readonly PackedTensor[] {
  const tensors: PackedTensor[] = [];
  let offset = packedHeadBytes;
  for (const spec of parameterSpecs(source.config)) {
    const { name: parameter, shape } = spec;
    const type = quantTypeOf(source, spec);
    const { isMultiplied, isLookedUp } = useOf(spec, source.config);
    const add = (role: PackedRole, dtype: 'f32' | 'u8', shape: readonly number[]) => {
      const bytes = shape.reduce((size, dim) => size * dim, dtype === 'f32' ? Float32Array.BYTES_PER_ELEMENT : 1);
      tensors.push({ parameter, role, type, dtype, shape, offset, bytes });
      offset = Math.ceil((offset + bytes) / mapAlignment) * mapAlignment;
    };
    const [rows = 0, columns = 0] = shape;
    if (type !== undefined) {
      if (isMultiplied) add('panels', 'u8', [quantizedPanelBytes(type, rows, columns)]);
      if (isLookedUp) add('blocks', 'u8', [rows, quantizedBytes(type, columns) ?? 0]);
    } else {
      if (isMultiplied) add('packed', 'f32', [packedSize(rows, columns)]);
      if (!isMultiplied || isLookedUp) add('plain', 'f32', shape);
    }
  }
  return tensors;
}

export function packedFileBytes(layout: readonly PackedTensor[]): number {
  const last = layout.at(-1);
  return last ? last.offset + last.bytes : packedHeadBytes;
}
