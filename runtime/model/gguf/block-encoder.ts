// Values to the types of GGUF files: plain numbers here, blocks by the native layer, which is loaded for them only.
import type { Device } from '#runtime/tensor/main.ts';
import { ggufBytes, ggufTensorTypes } from './tensor-types.ts';
import type { GgufTensorType } from './tensor-types.ts';

/** Has to be closed. */
export class BlockEncoder {
  #device: Device | undefined;

  /**
   * The bytes of values that are whole blocks: what ggml's reference makes of them (ggml-quants.c, quantize_row_*_ref), byte for byte. Values that
   * a plain type cannot hold become infinite. Throws WL_OP_INVALID for blocks of values that are not finite or whose scales no half can hold.
   */
  async encode(type: GgufTensorType, values: Float32Array): Promise<Uint8Array> {
    if (!isBlockType(type)) return encodePlain(type, values);
    const { openDevice, quantize, scope, tensor } = await import('#runtime/tensor/main.ts');
    const device = (this.#device ??= openDevice());
    return await scope(() => quantize(tensor(device, values, [values.length]), type).readBytes());
  }

  close(): void {
    this.#device?.close();
    this.#device = undefined;
  }
}

type PlainType = 'F32' | 'F16' | 'BF16';

function isBlockType(type: GgufTensorType): type is Exclude<GgufTensorType, PlainType> {
  return ggufTensorTypes[type].blockValues > 1;
}

function encodePlain(type: PlainType, values: Float32Array): Uint8Array {
  const bytes = new Uint8Array(ggufBytes(type, values.length));
  const view = new DataView(bytes.buffer);
  for (let at = 0; at < values.length; at += 1) {
    const value = values[at]!;
    if (type === 'F32') view.setFloat32(4 * at, value, true);
    else if (type === 'F16') view.setFloat16(2 * at, value, true);
    else view.setUint16(2 * at, bfloat(value), true);
  }
  return bytes;
}

const bits = new DataView(new ArrayBuffer(4));

/** Rounds to the nearest, ties to even; a NaN stays one. */
function bfloat(value: number): number {
  bits.setFloat32(0, value);
  const word = bits.getUint32(0);
  if (Number.isNaN(value)) return (word >>> 16) | 64;
  return (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
}
