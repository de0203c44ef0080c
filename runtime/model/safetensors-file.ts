// Safetensors files: reading single tensors as f32, and writing a file in canonical form.
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import { WindlassError, toWindlassError } from '#runtime/api/errors.ts';
import { headerLength, parseHeader, safetensorsHeader } from './safetensors.ts';
import type { SafetensorsHeader } from './safetensors.ts';
import type { FilePlace } from './weight-source.ts';

/** Bytes handled between two turns of the event loop: about a millisecond. */
const sliceBytes = 1 << 20;

/** An open file whose header was checked. */
export interface SafetensorsFile extends SafetensorsHeader {
  readonly path: string;
  /** The values of a tensor of type F32, F16 or BF16. Throws WL_MODEL_INVALID for another type, WL_SAFETENSORS_INVALID if the file has become shorter. */
  read(name: string): Promise<Float32Array>;
  /** Where the values of a tensor of type F32 are; undefined for other types. */
  place(name: string): Pick<FilePlace, 'file' | 'position' | 'bytes' | 'ended'> | undefined;
  close(): Promise<void>;
}

/** Opens a file and checks its whole header. Throws WL_FILE_MISSING, WL_SAFETENSORS_INVALID. */
export async function openSafetensors(path: string): Promise<SafetensorsFile> {
  const handle = await open(path, 'r').catch((error: unknown) => {
    throw toWindlassError(error);
  });
  try {
    const { size } = await handle.stat();
    const start = await readBytes(handle, 0, Math.min(8, size), path);
    const header = parseHeader(await readBytes(handle, 8, headerLength(start, size, path), path), size, path);
    return {
      ...header,
      path,
      close: () => handle.close(),
      place(name) {
        const stored = header.tensors.get(name);
        if (stored?.dtype !== 'F32') return undefined;
        const { begin, end } = stored;
        return { file: handle.fd, position: begin, bytes: end - begin, ended: () => endsAt(path, begin) };
      },
      async read(name) {
        const stored = header.tensors.get(name);
        if (!stored) throw new Error(`internal: ${path} holds no tensor ${name}`);
        const convert = converters[stored.dtype];
        if (!convert) {
          const message = `${path}: tensor ${name} is ${stored.dtype}; supported are ${Object.keys(converters).join(', ')}`;
          throw new WindlassError('WL_MODEL_INVALID', message, { details: { file: path } });
        }
        return await convert(await readBytes(handle, stored.begin, stored.end - stored.begin, path));
      },
    };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** Turns bytes into f32; the bytes are the converter's to keep. */
const converters: Readonly<Record<string, (bytes: Uint8Array<ArrayBuffer>) => Float32Array | Promise<Float32Array>>> = {
  F32: (bytes) => new Float32Array(bytes.buffer),
  F16: (bytes) => inSlices(new Float16Array(bytes.buffer), (from, into) => into.set(from)),
  BF16: (bytes) =>
    inSlices(new Uint16Array(bytes.buffer), (from, into) => {
      const bits = new Uint32Array(into.buffer, into.byteOffset, into.length);
      for (let index = 0; index < from.length; index += 1) bits[index] = (from[index] ?? 0) << 16;
    }),
};

async function inSlices<A extends Float16Array | Uint16Array>(
  from: A,
  convert: (from: A, into: Float32Array) => void,
): Promise<Float32Array> {
  const into = new Float32Array(from.length);
  for (let begin = 0; begin < from.length; begin += sliceBytes / 2) {
    const end = begin + sliceBytes / 2;
    convert(from.subarray(begin, end) as A, into.subarray(begin, end));
    await setImmediate();
  }
  return into;
}

async function readBytes(handle: FileHandle, position: number, length: number, path: string): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await handle.read(bytes, filled, length - filled, position + filled);
    if (bytesRead === 0) throw endsAt(path, position + filled);
    filled += bytesRead;
  }
  return bytes;
}

function endsAt(path: string, byte: number): WindlassError {
  return new WindlassError('WL_SAFETENSORS_INVALID', `${path}: it ends at byte ${byte}`, { details: { file: path } });
}

/** A tensor to be written as F32. Its values are asked for when their turn comes. */
export interface TensorToWrite {
  readonly name: string;
  readonly shape: readonly number[];
  readonly values: () => Promise<Float32Array>;
}

/** Writes a durable file with the tensors sorted by name: the same tensors and metadata give the same bytes. */
export async function writeSafetensors(
  path: string,
  tensors: readonly TensorToWrite[],
  metadata: Readonly<Record<string, string>>,
): Promise<void> {
  const sorted = [...tensors].sort((a, b) => (a.name < b.name ? -1 : 1));
  const handle = await open(path, 'w');
  try {
    await writeAll(
      handle,
      safetensorsHeader(
        sorted.map(({ name, shape }) => ({ name, dtype: 'F32', shape })),
        metadata,
      ),
    );
    for (const { name, shape, values } of sorted) {
      const data = await values();
      if (data.length !== shape.reduce((size, dim) => size * dim, 1))
        throw new Error(`internal: ${name} has ${data.length} values`);
      await writeAll(handle, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    }
    await handle.sync();
  } catch (error) {
    throw toWindlassError(error);
  } finally {
    await handle.close();
  }
}

async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let written = 0; written < bytes.length;) {
    written += (await handle.write(bytes, written, Math.min(sliceBytes, bytes.length - written))).bytesWritten;
  }
}
