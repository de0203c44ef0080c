// Weights in the block types of GGUF files: from and to f32, and as the panels that products read.
import { quantizedBytes as blockBytes, quantizedPanelBytes as panelBytes } from '#kernels/binding.ts';
import { empty, emptyBytes } from './create.ts';
import { ops } from './device.ts';
import { unscoped } from './scope.ts';
import type { Parameter, Tensor } from './tensor.ts';
import { WindlassError } from '#runtime/api/errors.ts';

/** Names and numbers of the types, as GGUF files have them. */
export const quantTypes = {
  F16: 1,
  Q4_0: 2,
  Q4_1: 3,
  Q5_0: 6,
  Q5_1: 7,
  Q8_0: 8,
  Q4_K: 12,
  Q5_K: 13,
  Q6_K: 14,
  BF16: 30,
} as const;
export type QuantType = keyof typeof quantTypes;

/** Bytes of so many elements in whole blocks; undefined where the last block would not be full. */
export function quantizedBytes(type: QuantType, elements: number): number | undefined {
  const bytes = blockBytes(quantTypes[type], elements);
  return bytes < 0 ? undefined : bytes;
}

/** Bytes of the panels of a weight [n, k] of whole blocks. */
export function quantizedPanelBytes(type: QuantType, n: number, k: number): number {
  return panelBytes(quantTypes[type], n, k);
}

/** x in blocks, u8: [..., K] -> [..., bytes of a row]. Refuses values that are not finite when it runs. Throws WL_OP_INVALID where K is not whole blocks. */
export function quantize(x: Tensor, type: QuantType): Tensor {
  const blocks = emptyBytes(x.device, [...x.leading, rowBytes(type, x.columns, x.label)], `${type} ${x.label}`);
  ops.quantize(x.device.stream, x.handle, blocks.handle, quantTypes[type]);
  return blocks;
}

/** What blocks are worth, in f32 of this shape. */
export function dequantize(blocks: Tensor, type: QuantType, shape: readonly number[]): Tensor {
  const y = empty(blocks.device, shape, `values of ${blocks.label}`);
  ops.dequantize(blocks.device.stream, blocks.handle, y.handle, quantTypes[type]);
  return y;
}

/** A weight [N, K] in fewer bits. It belongs to whoever made it. */
export class QuantizedWeight {
  readonly type: QuantType;
  /** What products read; absent where the weight is only looked up. */
  readonly panels: Tensor | undefined;
  /** What rows are looked up in; absent where the weight is only multiplied with. */
  readonly blocks: Tensor | undefined;

  constructor(type: QuantType, panels: Tensor | undefined, blocks: Tensor | undefined) {
    this.type = type;
    this.panels = panels;
    this.blocks = blocks;
  }

  dispose(): void {
    this.panels?.dispose();
    this.blocks?.dispose();
  }
}

/** A table of blocks [N, bytes of a row] whose rows are only looked up. The blocks belong to it. */
export function quantizedTable(blocks: Tensor, type: QuantType): QuantizedWeight {
  return new QuantizedWeight(type, undefined, blocks.takeOwnership());
}

/**
 * Packs the blocks [N, bytes of a row] of a weight [N, terms]. With `keepBlocks` the tensor of blocks is kept and belongs to the weight;
 * otherwise it stays its owner's and is not needed any more.
 */
export function packQuantized(blocks: Tensor, type: QuantType, terms: number, keepBlocks = false): QuantizedWeight {
  const [n = 0] = blocks.shape;
  rowBytes(type, terms, blocks.label);
  const bytes = quantizedPanelBytes(type, n, terms);
  const panels = unscoped(() => emptyBytes(blocks.device, [bytes], `panels of ${blocks.label}`));
  ops.quantized_pack(blocks.device.stream, blocks.handle, panels.handle, quantTypes[type], terms);
  return new QuantizedWeight(type, panels, keepBlocks ? blocks.takeOwnership() : undefined);
}

/** From now on `weight` stands for the values of `w`: in `linear` with panels, in `embedding` with blocks; its plain values are not read. */
export function setQuantized(w: Parameter, weight: QuantizedWeight): void {
  w.changed();
  w.quantized = weight;
}

/** y [M, N] = x [M, K] times the weight, plus bias [N]; see `linear_quantized` in kernels/ops.ts. */
export function multiplyQuantized(x: Tensor, weight: QuantizedWeight, bias: Tensor | undefined, y: Tensor, spans: number): void {
  const { stream } = x.device;
  if (!weight.panels) throw new WindlassError('WL_OP_INVALID', `linear: ${weight.blocks?.label} is a table to look rows up in`);
  ops.linear_quantized(stream, x.handle, weight.panels.handle, bias?.handle ?? null, y.handle, quantTypes[weight.type], spans);
}

/** y[t] = row ids[t] of the weight. */
export function gatherQuantized(ids: Tensor, { blocks, type, panels }: QuantizedWeight, y: Tensor): void {
  if (!blocks) throw new WindlassError('WL_OP_INVALID', `embedding: ${panels?.label} was packed without its blocks`);
  ops.dequantize_rows(y.device.stream, blocks.handle, ids.handle, y.handle, quantTypes[type]);
}

function rowBytes(type: QuantType, columns: number, label: string): number {
  const bytes = quantizedBytes(type, columns);
  if (bytes === undefined)
    throw new WindlassError('WL_OP_INVALID', `${label}: rows of ${columns} elements are not whole blocks of ${type}`);
  return bytes;
}
