// Values to quantised blocks, as ggml's reference does it (ggml-quants.c, quantize_row_*_ref): all steps in float32, so that equal values give equal bytes.
import { ggufTensorTypes } from './tensor-types.ts';
import type { GgufTensorType } from './tensor-types.ts';
import { encodeQ4K, encodeQ5K, encodeQ6K } from './quantize-k.ts';

/** Writes the blocks of values that fill them. */
export function quantize(type: GgufTensorType, values: Float32Array, bytes: Uint8Array): void {
  const { blockBytes, blockValues } = ggufTensorTypes[type];
  const blocks = values.length / blockValues;
  if (!Number.isInteger(blocks) || bytes.length !== blocks * blockBytes)
    throw new Error(`internal: ${values.length} values are not ${bytes.length} bytes of ${type}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const encode = blockWriters[type];
  for (let block = 0; block < blocks; block += 1) {
    encode(values.subarray(block * blockValues, (block + 1) * blockValues), view, block * blockBytes);
  }
}

/** Writes one block at `at`. */
export type BlockWriter = (x: Float32Array, view: DataView, at: number) => void;

const f32 = Math.fround;

const blockWriters: Readonly<Record<GgufTensorType, BlockWriter>> = {
  F32: (x, view, at) => view.setFloat32(at, x[0]!, true),
  F16: (x, view, at) => view.setFloat16(at, x[0]!, true),
  BF16: (x, view, at) => view.setUint16(at, bfloat(x[0]!), true),

  /** d is the value of largest magnitude / -8, so that it becomes 0 and the other sign reaches up to 15. */
  Q4_0(x, view, at) {
    const d = f32(extreme(x) / -8);
    view.setFloat16(at, d, true);
    writeNibbles(x, view, at + 2, inverse(d), 0, 8.5, 15);
  },

  Q4_1(x, view, at) {
    const { d, min } = span(x, 15);
    view.setFloat16(at, d, true);
    view.setFloat16(at + 2, min, true);
    writeNibbles(x, view, at + 4, inverse(d), min, 0.5, 15);
  },

  Q5_0(x, view, at) {
    const d = f32(extreme(x) / -16);
    view.setFloat16(at, d, true);
    view.setUint32(at + 2, writeNibbles(x, view, at + 6, inverse(d), 0, 16.5, 31), true);
  },

  Q5_1(x, view, at) {
    const { d, min } = span(x, 31);
    view.setFloat16(at, d, true);
    view.setFloat16(at + 2, min, true);
    view.setUint32(at + 4, writeNibbles(x, view, at + 8, inverse(d), min, 0.5, 31), true);
  },

  Q8_0(x, view, at) {
    const d = f32(Math.abs(extreme(x)) / 127);
    const scale = inverse(d);
    view.setFloat16(at, d, true);
    for (let j = 0; j < 32; j += 1) {
      const scaled = f32(x[j]! * scale);
      view.setInt8(at + 2 + j, Math.sign(scaled) * Math.floor(Math.abs(scaled) + 0.5));
    }
  },

  Q4_K: encodeQ4K,
  Q5_K: encodeQ5K,
  Q6_K: encodeQ6K,
};

/** The first value of largest magnitude. */
function extreme(x: Float32Array): number {
  let found = 0;
  for (let j = 0; j < x.length; j += 1) if (Math.abs(x[j]!) > Math.abs(found)) found = x[j]!;
  return found;
}

/** The smallest value, and the step by which `steps` of them reach the largest. */
function span(x: Float32Array, steps: number): { d: number; min: number } {
  let min = x[0]!;
  let max = x[0]!;
  for (let j = 1; j < x.length; j += 1) {
    if (x[j]! < min) min = x[j]!;
    if (x[j]! > max) max = x[j]!;
  }
  return { d: f32(f32(max - min) / steps), min };
}

function inverse(d: number): number {
  return d === 0 ? 0 : f32(1 / d);
}

/** Writes quants min((x - offset) scale + bias, limit): the low four bits of j and j + 16 into byte j. Gives the fifth bits. */
function writeNibbles(
  x: Float32Array,
  view: DataView,
  at: number,
  scale: number,
  offset: number,
  bias: number,
  limit: number,
): number {
  let fifth = 0;
  const quant = (j: number) => Math.min(limit, Math.trunc(f32(f32(f32(x[j]! - offset) * scale) + bias)));
  for (let j = 0; j < 16; j += 1) {
    const [low, high] = [quant(j), quant(j + 16)];
    view.setUint8(at + j, (low & 15) | ((high & 15) << 4));
    fifth |= ((low >> 4) << j) | ((high >> 4) << (j + 16));
  }
  return fifth >>> 0;
}

const bits = new DataView(new ArrayBuffer(4));

/** Rounds to the nearest, ties to even; a NaN stays one. */
function bfloat(value: number): number {
  bits.setFloat32(0, value);
  const word = bits.getUint32(0);
  if (Number.isNaN(value)) return (word >>> 16) | 64;
  return (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
}
