// The GGUF format, version 3, as far as writing needs it: metadata, tensor infos, aligned data (ggml docs/gguf.md).
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import { WindlassError, toWindlassError } from '#runtime/api/errors.ts';
import { BlockEncoder } from './block-encoder.ts';
import { ggufBytes, ggufTensorTypes } from './tensor-types.ts';
import type { GgufTensorType } from './tensor-types.ts';

export type GgufValue =
  | { readonly type: 'u32' | 'f32' | 'bool' | 'string'; readonly value: number | boolean | string }
  | { readonly type: 'i32[]'; readonly value: readonly number[] }
  | { readonly type: 'string[]'; readonly value: readonly string[] }
  /** As another file has it: the type and what follows. */
  | { readonly type: 'copy'; readonly bytes: Uint8Array };

export interface GgufTensor {
  readonly name: string;
  /** Row-major, outermost dim first, as everywhere here; the file lists it the other way round. */
  readonly shape: readonly number[];
  readonly type: GgufTensorType;
  readonly values: () => Promise<Float32Array>;
  /** Told each stretch of values with the bytes that they became. */
  readonly onWritten?: (values: Float32Array, bytes: Uint8Array) => void;
}

const version = 3;
const alignment = 32;
/** Values converted and written between two turns of the event loop: whole blocks of every type. */
const sliceElements = 1 << 18;
const valueTypes = { u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9 } as const;
/** Writes a durable file. Throws WL_MODEL_INVALID where a type cannot hold a value, WL_DISK_FULL, WL_IO. */
export async function writeGguf(
  path: string,
  metadata: ReadonlyMap<string, GgufValue>,
  tensors: readonly GgufTensor[],
): Promise<void> {
  const handle = await open(path, 'w').catch((error: unknown) => {
    throw toWindlassError(error);
  });
  const encoder = new BlockEncoder();
  try {
    await handle.writeFile(ggufHeader(metadata, tensors));
    for (const tensor of tensors) await writeValues(handle, tensor, encoder);
    await handle.sync();
  } catch (error) {
    throw toWindlassError(error);
  } finally {
    encoder.close();
    await handle.close();
  }
}

/** Everything before the data, padded to the alignment. */
function ggufHeader(metadata: ReadonlyMap<string, GgufValue>, tensors: readonly GgufTensor[]): Uint8Array {
  const out = new ByteWriter();
  out.bytes(new TextEncoder().encode('GGUF'));
  out.u32(version);
  out.u64(tensors.length);
  out.u64(metadata.size);
  for (const [key, value] of metadata) {
    out.string(key);
    writeMetadata(out, value);
  }
  let offset = 0;
  for (const { name, shape, type } of tensors) {
    out.string(name);
    out.u32(shape.length);
    for (const dim of [...shape].reverse()) out.u64(dim);
    out.u32(ggufTensorTypes[type].id);
    out.u64(offset);
    offset += aligned(dataBytes({ shape, type }));
  }
  return out.padded(alignment);
}

function writeMetadata(out: ByteWriter, entry: GgufValue): void {
  if (entry.type === 'copy') return out.bytes(entry.bytes);
  if (entry.type === 'i32[]' || entry.type === 'string[]') {
    out.u32(valueTypes.array);
    out.u32(entry.type === 'i32[]' ? valueTypes.i32 : valueTypes.string);
    out.u64(entry.value.length);
    if (entry.type === 'i32[]') for (const item of entry.value) out.i32(item);
    else for (const item of entry.value) out.string(item);
    return;
  }
  out.u32(valueTypes[entry.type]);
  if (entry.type === 'string') out.string(String(entry.value));
  else if (entry.type === 'bool') out.bytes(Uint8Array.of(entry.value === true ? 1 : 0));
  else if (entry.type === 'f32') out.f32(Number(entry.value));
  else out.u32(Number(entry.value));
}

async function writeValues(handle: FileHandle, tensor: GgufTensor, encoder: BlockEncoder): Promise<void> {
  const values = await tensor.values();
  for (let begin = 0; begin < values.length; begin += sliceElements) {
    const slice = values.subarray(begin, begin + sliceElements);
    const bytes = await encoder.encode(tensor.type, slice).catch((error: unknown) => {
      const { message } = toWindlassError(error);
      throw new WindlassError('WL_MODEL_INVALID', `${tensor.name} cannot become ${tensor.type}: ${message}`, { cause: error });
    });
    if (tensor.type === 'F16') refuseOverflow(slice, bytes, tensor.name);
    tensor.onWritten?.(slice, bytes);
    await handle.writeFile(bytes);
    await setImmediate();
  }
  const bytes = dataBytes(tensor);
  await handle.writeFile(new Uint8Array(aligned(bytes) - bytes));
}

function refuseOverflow(values: Float32Array, bytes: Uint8Array, name: string): void {
  const halves = new Float16Array(bytes.buffer, bytes.byteOffset, values.length);
  const index = halves.findIndex((value, at) => !Number.isFinite(value) && Number.isFinite(values[at]));
  if (index < 0) return;
  throw new WindlassError('WL_MODEL_INVALID', `${name} holds ${values[index]}, which f16 cannot hold; export as f32 instead`);
}

function dataBytes({ shape, type }: Pick<GgufTensor, 'shape' | 'type'>): number {
  return ggufBytes(
    type,
    shape.reduce((size, dim) => size * dim, 1),
  );
}

function aligned(bytes: number): number {
  return Math.ceil(bytes / alignment) * alignment;
}

/** Grows as it is written to; little-endian. */
class ByteWriter {
  #buffer = new Uint8Array(1 << 16);
  #length = 0;

  #grow(bytes: number): DataView {
    if (this.#length + bytes > this.#buffer.length) {
      const larger = new Uint8Array(2 * (this.#length + bytes));
      larger.set(this.#buffer);
      this.#buffer = larger;
    }
    const view = new DataView(this.#buffer.buffer, this.#length, bytes);
    this.#length += bytes;
    return view;
  }

  bytes(bytes: Uint8Array): void {
    const at = this.#length;
    this.#grow(bytes.length);
    this.#buffer.set(bytes, at);
  }

  u32(value: number): void {
    this.#grow(4).setUint32(0, value, true);
  }

  i32(value: number): void {
    this.#grow(4).setInt32(0, value, true);
  }

  f32(value: number): void {
    this.#grow(4).setFloat32(0, value, true);
  }

  u64(value: number): void {
    this.#grow(8).setBigUint64(0, BigInt(value), true);
  }

  string(value: string): void {
    const bytes = new TextEncoder().encode(value);
    this.u64(bytes.length);
    this.bytes(bytes);
  }

  padded(multiple: number): Uint8Array {
    this.bytes(new Uint8Array((multiple - (this.#length % multiple)) % multiple));
    return this.#buffer.slice(0, this.#length);
  }
}
