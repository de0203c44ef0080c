// The values of quantised blocks, as ggml defines them (ggml-quants.c, dequantize_row_*): the readable definition that kernels are held to.
import { ggufTensorTypes } from './tensor-types.ts';
import type { GgufTensorType } from './tensor-types.ts';

/**
 * Writes the values of whole blocks. They are what float32 arithmetic step by step gives: all products are exact in float32 (an f16 scale has
 * 11 significant bits, scale and quant together at most 13 more), and a sum of two float32 numbers is rounded once, here by its store.
 */
export function dequantize(type: GgufTensorType, bytes: Uint8Array, values: Float32Array): void {
  const { blockBytes, blockValues } = ggufTensorTypes[type];
  const blocks = bytes.length / blockBytes;
  if (!Number.isInteger(blocks) || values.length !== blocks * blockValues)
    throw new Error(`internal: ${bytes.length} bytes of ${type} are not ${values.length} values`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  blockReaders[type](view, bytes, values);
}

type BlockReader = (view: DataView, bytes: Uint8Array, values: Float32Array) => void;

const blockReaders: Readonly<Record<GgufTensorType, BlockReader>> = {
  F32(view, _, values) {
    for (let i = 0; i < values.length; i += 1) values[i] = view.getFloat32(4 * i, true);
  },

  F16(view, _, values) {
    for (let i = 0; i < values.length; i += 1) values[i] = view.getFloat16(2 * i, true);
  },

  BF16(view, _, values) {
    const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
    for (let i = 0; i < values.length; i += 1) bits[i] = view.getUint16(2 * i, true) << 16;
  },

  /** f16 d, 16 bytes of nibbles: d (q - 8). Byte j has value j below and value j + 16 above, here and in the next three. */
  Q4_0(view, bytes, values) {
    for (let at = 0, out = 0; out < values.length; at += 18, out += 32) {
      const d = view.getFloat16(at, true);
      for (let j = 0; j < 16; j += 1) {
        const q = bytes[at + 2 + j]!;
        values[out + j] = d * ((q & 15) - 8);
        values[out + j + 16] = d * ((q >> 4) - 8);
      }
    }
  },

  /** f16 d, f16 m, nibbles: d q + m. */
  Q4_1(view, bytes, values) {
    for (let at = 0, out = 0; out < values.length; at += 20, out += 32) {
      const d = view.getFloat16(at, true);
      const m = view.getFloat16(at + 2, true);
      for (let j = 0; j < 16; j += 1) {
        const q = bytes[at + 4 + j]!;
        values[out + j] = d * (q & 15) + m;
        values[out + j + 16] = d * (q >> 4) + m;
      }
    }
  },

  /** f16 d, 32 fifth bits, nibbles: d (q - 16). */
  Q5_0(view, bytes, values) {
    for (let at = 0, out = 0; out < values.length; at += 22, out += 32) {
      const d = view.getFloat16(at, true);
      const fifth = view.getUint32(at + 2, true);
      for (let j = 0; j < 16; j += 1) {
        const q = bytes[at + 6 + j]!;
        values[out + j] = d * (((q & 15) | (((fifth >>> j) & 1) << 4)) - 16);
        values[out + j + 16] = d * (((q >> 4) | (((fifth >>> (j + 16)) & 1) << 4)) - 16);
      }
    }
  },

  /** f16 d, f16 m, 32 fifth bits, nibbles: d q + m. */
  Q5_1(view, bytes, values) {
    for (let at = 0, out = 0; out < values.length; at += 24, out += 32) {
      const d = view.getFloat16(at, true);
      const m = view.getFloat16(at + 2, true);
      const fifth = view.getUint32(at + 4, true);
      for (let j = 0; j < 16; j += 1) {
        const q = bytes[at + 8 + j]!;
        values[out + j] = d * ((q & 15) | (((fifth >>> j) & 1) << 4)) + m;
        values[out + j + 16] = d * ((q >> 4) | (((fifth >>> (j + 16)) & 1) << 4)) + m;
      }
    }
  },

  /** f16 d, 32 signed bytes: d q. */
  Q8_0(view, _, values) {
    for (let at = 0, out = 0; out < values.length; at += 34, out += 32) {
      const d = view.getFloat16(at, true);
      for (let j = 0; j < 32; j += 1) values[out + j] = d * view.getInt8(at + 2 + j);
    }
  },

  /** f16 d, f16 dmin, 12 bytes of scales and minima, 128 bytes of nibbles: d scale q - dmin minimum in 8 runs of 32. */
  Q4_K(view, bytes, values) {
    for (let at = 0, out = 0; out < values.length; at += 144, out += 256) {
      const d = view.getFloat16(at, true);
      const dmin = view.getFloat16(at + 2, true);
      for (let run = 0; run < 8; run += 1) {
        const scale = d * sixBitScale(bytes, at + 4, run);
        const minimum = dmin * sixBitMinimum(bytes, at + 4, run);
        const nibbles = at + 16 + 32 * (run >> 1);
        const shift = 4 * (run & 1);
        for (let l = 0; l < 32; l += 1) values[out + 32 * run + l] = scale * ((bytes[nibbles + l]! >> shift) & 15) - minimum;
      }
    }
  },

  /** As Q4_K, with 32 bytes of fifth bits before the nibbles: bit `run` of byte l belongs to value l of the run. */
  Q5_K(view, bytes, values) {
    for (let at = 0, out = 0; out < values.length; at += 176, out += 256) {
      const d = view.getFloat16(at, true);
      const dmin = view.getFloat16(at + 2, true);
      for (let run = 0; run < 8; run += 1) {
        const scale = d * sixBitScale(bytes, at + 4, run);
        const minimum = dmin * sixBitMinimum(bytes, at + 4, run);
        const nibbles = at + 48 + 32 * (run >> 1);
        const shift = 4 * (run & 1);
        for (let l = 0; l < 32; l += 1) {
          const q = ((bytes[nibbles + l]! >> shift) & 15) | (((bytes[at + 16 + l]! >> run) & 1) << 4);
          values[out + 32 * run + l] = scale * q - minimum;
        }
      }
    }
  },

  /** 128 bytes of nibbles, 64 of upper bit pairs, 16 signed scales, f16 d: d scale (q - 32) in 16 runs of 16, in two halves of 128. */
  Q6_K(view, bytes, values) {
    for (let at = 0, out = 0; out < values.length; at += 210, out += 256) {
      const d = view.getFloat16(at + 208, true);
      for (let run = 0; run < 16; run += 1) {
        const scale = d * view.getInt8(at + 192 + run);
        const half = run >> 3;
        const quarter = (run >> 1) & 3;
        const within = 16 * (run & 1);
        const nibbles = at + 64 * half + 32 * (quarter & 1) + within;
        const pairs = at + 128 + 32 * half + within;
        const shift = 4 * (quarter >> 1);
        for (let l = 0; l < 16; l += 1) {
          const q = ((bytes[nibbles + l]! >> shift) & 15) | (((bytes[pairs + l]! >> (2 * quarter)) & 3) << 4);
          values[out + 16 * run + l] = scale * (q - 32);
        }
      }
    }
  },
};

/** Scale of a run: the first four runs have six bits of a byte each, the others four bits of one byte and the upper two of another. */
function sixBitScale(bytes: Uint8Array, scales: number, run: number): number {
  if (run < 4) return bytes[scales + run]! & 63;
  return (bytes[scales + run + 4]! & 15) | ((bytes[scales + run - 4]! >> 6) << 4);
}

function sixBitMinimum(bytes: Uint8Array, scales: number, run: number): number {
  if (run < 4) return bytes[scales + run + 4]! & 63;
  return (bytes[scales + run + 4]! >> 4) | ((bytes[scales + run]! >> 6) << 4);
}
