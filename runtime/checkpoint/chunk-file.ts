// Writes and reads the chunk files of a checkpoint: safetensors files whose byte ranges the manifest lists with checksums.
import type { FileHandle } from 'node:fs/promises';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { safetensorsHeader } from '#runtime/model/safetensors.ts';
import { WindlassError } from '#runtime/api/errors.ts';
import { elementsOf } from './box.ts';
import type { Box } from './box.ts';
import type { Chunk } from './manifest.ts';

/** Bytes handled between two turns of the event loop: about a millisecond of checksum and copy. */
const sliceBytes = 1 << 20;

export interface ChunkData {
  readonly tensor: string;
  readonly box: Box;
  readonly data: Float32Array;
}

export interface WrittenFile {
  readonly bytes: number;
  readonly headerBytes: number;
  readonly headerCrc32: number;
  readonly chunks: readonly { readonly tensor: string; readonly chunk: Chunk }[];
}

/** Writes `chunks` one after the other into `folder/file` and makes it durable. Throws WL_LOSS_NOT_FINITE if a value is NaN or infinite. */
export async function writeChunkFile(folder: string, file: string, chunks: readonly ChunkData[]): Promise<WrittenFile> {
  const header = safetensorsHeader(
    chunks.map(({ tensor, box }) => ({ name: chunkName(tensor, box), dtype: 'F32', shape: box.sizes })),
  );
  const handle = await open(join(folder, file), 'w');
  try {
    await writeAll(handle, header);
    let position = header.length;
    const written: { tensor: string; chunk: Chunk }[] = [];
    for (const { tensor, box, data } of chunks) {
      const checksum = await writeSlices(handle, data, tensor);
      const chunk = {
        ...box,
        offsets: [...box.offsets],
        sizes: [...box.sizes],
        file,
        begin: position,
        end: position + data.byteLength,
        crc32: checksum,
      };
      written.push({ tensor, chunk });
      position += data.byteLength;
    }
    await handle.sync();
    return { bytes: position, headerBytes: header.length, headerCrc32: crc32(header), chunks: written };
  } finally {
    await handle.close();
  }
}

async function writeSlices(handle: FileHandle, data: Float32Array, tensor: string): Promise<number> {
  let checksum = 0;
  for (let begin = 0; begin < data.length; begin += sliceBytes / 4) {
    const slice = data.subarray(begin, begin + sliceBytes / 4);
    if (!areFinite(slice))
      throw new WindlassError('WL_LOSS_NOT_FINITE', `${tensor} holds NaN or infinite values; it is not saved`);
    const bytes = new Uint8Array(slice.buffer, slice.byteOffset, slice.byteLength);
    checksum = crc32(bytes, checksum);
    await writeAll(handle, bytes);
  }
  return checksum;
}

function areFinite(values: Float32Array): boolean {
  let largest = 0;
  for (let index = 0; index < values.length; index += 1) largest = Math.max(largest, Math.abs(values[index] ?? 0));
  return largest < Infinity;
}

/** A disk that fills up takes a part of what is written without an error; the next write gets it. */
async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let written = 0; written < bytes.length;) written += (await handle.write(bytes, written)).bytesWritten;
}

function chunkName(tensor: string, box: Box): string {
  return box.offsets.every((offset) => offset === 0) ? tensor : `${tensor}@${box.offsets.join(',')}`;
}

/** The values of a chunk. Throws WL_CHECKPOINT_CORRUPT when the bytes are not those that were written. */
export async function readChunk(folder: string, chunk: Chunk): Promise<Float32Array> {
  const handle = await open(join(folder, chunk.file), 'r');
  try {
    const { size } = await handle.stat();
    const length = elementsOf(chunk.sizes) * 4;
    const place = `bytes ${chunk.begin} to ${chunk.end}`;
    if (chunk.end - chunk.begin !== length || chunk.end > size) throw corrupt(folder, chunk.file, place);
    const bytes = new Uint8Array(length);
    if ((await readSlices(handle, chunk.begin, bytes)) !== chunk.crc32) throw corrupt(folder, chunk.file, place);
    return new Float32Array(bytes.buffer);
  } finally {
    await handle.close();
  }
}

/** Checks length and header of a chunk file. */
export async function checkHeader(
  folder: string,
  file: string,
  expected: { bytes: number; headerBytes: number; headerCrc32: number },
): Promise<void> {
  const handle = await open(join(folder, file), 'r');
  try {
    const { size } = await handle.stat();
    if (size !== expected.bytes) throw corrupt(folder, file, `${size} bytes instead of ${expected.bytes}`);
    const header = new Uint8Array(expected.headerBytes);
    if ((await readSlices(handle, 0, header)) !== expected.headerCrc32) throw corrupt(folder, file, 'the header');
  } finally {
    await handle.close();
  }
}

async function readSlices(handle: FileHandle, position: number, into: Uint8Array): Promise<number> {
  let checksum = 0;
  for (let begin = 0; begin < into.length; begin += sliceBytes) {
    const slice = into.subarray(begin, begin + sliceBytes);
    const { bytesRead } = await handle.read(slice, 0, slice.length, position + begin);
    checksum = crc32(slice.subarray(0, bytesRead), checksum);
    if (bytesRead < slice.length) return -1;
  }
  return checksum;
}

function corrupt(folder: string, file: string, what: string): WindlassError {
  const path = join(folder, file);
  return new WindlassError('WL_CHECKPOINT_CORRUPT', `${path} is damaged: ${what} differ from what was saved`, {
    details: { file: path },
  });
}
