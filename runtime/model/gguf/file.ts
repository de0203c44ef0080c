// An open GGUF file: its head in memory, the data of its tensors read when they are asked for.
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import { WindlassError, toWindlassError } from '#runtime/api/errors.ts';
import type { FilePlace } from '../weight-source.ts';
import { dequantize } from './dequantize.ts';
import { parseGgufHeader } from './header.ts';
import type { GgufHeader, StoredTensor } from './header.ts';
import { ggufTensorTypes } from './tensor-types.ts';

/** Most heads fit the first read: a vocabulary of 49,152 tokens takes 1.7 MB, one of 262,144 some 9 MB. */
const firstReadBytes = 4 << 20;
/** Far above any real head; the limit keeps a wrong file from filling the memory. */
const maxHeadBytes = 256 << 20;
/** Bytes turned into values between two turns of the event loop: a few milliseconds. */
const sliceBytes = 1 << 20;

/** Rows [begin, end). */
interface Rows {
  readonly begin: number;
  readonly end: number;
}

export interface GgufFile extends GgufHeader {
  readonly path: string;
  /** The bytes of the head, in which the arrays of the metadata lie. */
  readonly head: Uint8Array;
  /** Rows of a tensor as the file has them, all by default. Throws WL_GGUF_INVALID if the file has become shorter. */
  blocks(tensor: StoredTensor, rows?: Rows): Promise<Uint8Array<ArrayBuffer>>;
  /** Where the same bytes are. */
  place(tensor: StoredTensor, rows?: Rows): Pick<FilePlace, 'file' | 'position' | 'bytes' | 'ended'>;
  /** The values of rows of a tensor, row-major. Throws as `blocks` does. */
  read(tensor: StoredTensor, rows?: Rows): Promise<Float32Array>;
  close(): Promise<void>;
}

/** Opens a file and checks its whole head. Throws WL_FILE_MISSING, WL_GGUF_INVALID, WL_MODEL_INVALID for a tensor type that is not supported. */
export async function openGguf(path: string): Promise<GgufFile> {
  const handle = await open(path, 'r').catch((error: unknown) => {
    throw toWindlassError(error);
  });
  try {
    const { header, head } = await readHead(handle, path);
    return {
      ...header,
      path,
      head,
      async blocks(tensor, rows) {
        const { begin, end } = span(tensor, rows);
        const bytes = new Uint8Array(end - begin);
        await fill(handle, bytes, begin, path);
        return bytes;
      },
      place(tensor, rows) {
        const { begin, end } = span(tensor, rows);
        return { file: handle.fd, position: begin, bytes: end - begin, ended: () => shortened(path, begin) };
      },
      read: (tensor, rows) => readValues(handle, { type: tensor.type, ...span(tensor, rows) }, path),
      close: () => handle.close(),
    };
  } catch (error) {
    await handle.close();
    throw toWindlassError(error);
  }
}

/** Number of rows; a vector whose values stand alone is one column of them. */
export function rowsOf({ shape, type }: Pick<StoredTensor, 'shape' | 'type'>): number {
  if (shape.length === 1 && ggufTensorTypes[type].blockValues === 1) return shape[0] ?? 0;
  return shape.slice(0, -1).reduce((size, dim) => size * dim, 1);
}

function span(tensor: StoredTensor, { begin, end }: Rows = { begin: 0, end: rowsOf(tensor) }): Rows {
  const rowBytes = (tensor.end - tensor.begin) / rowsOf(tensor);
  return { begin: tensor.begin + begin * rowBytes, end: tensor.begin + end * rowBytes };
}

async function readHead(handle: FileHandle, path: string): Promise<{ header: GgufHeader; head: Uint8Array }> {
  const { size } = await handle.stat();
  for (let length = firstReadBytes; ; length *= 4) {
    const head = new Uint8Array(Math.min(size, length, maxHeadBytes));
    await fill(handle, head, 0, path);
    const header = parseGgufHeader(head, size, path);
    if (header) return { header, head: head.slice(0, header.dataBegin) };
    if (length >= maxHeadBytes) throw invalid(path, `its head has more than ${maxHeadBytes} bytes`, maxHeadBytes);
  }
}

type Stretch = Pick<StoredTensor, 'type' | 'begin' | 'end'>;

async function readValues(handle: FileHandle, tensor: Stretch, path: string): Promise<Float32Array> {
  const { blockBytes, blockValues } = ggufTensorTypes[tensor.type];
  const bytes = tensor.end - tensor.begin;
  const values = new Float32Array((bytes / blockBytes) * blockValues);
  const stride = Math.floor(sliceBytes / blockBytes) * blockBytes;
  const slice = new Uint8Array(Math.min(stride, bytes));
  for (let begin = 0; begin < bytes; begin += stride) {
    const part = slice.subarray(0, Math.min(stride, bytes - begin));
    await fill(handle, part, tensor.begin + begin, path);
    const first = (begin / blockBytes) * blockValues;
    dequantize(tensor.type, part, values.subarray(first, first + (part.length / blockBytes) * blockValues));
    await setImmediate();
  }
  return values;
}

async function fill(handle: FileHandle, bytes: Uint8Array, position: number, path: string): Promise<void> {
  for (let filled = 0; filled < bytes.length;) {
    const { bytesRead } = await handle.read(bytes, filled, bytes.length - filled, position + filled);
    if (bytesRead === 0) throw shortened(path, position + filled);
    filled += bytesRead;
  }
}

function shortened(path: string, offset: number): WindlassError {
  return invalid(path, 'it has become shorter while it was read', offset);
}

function invalid(path: string, what: string, offset: number): WindlassError {
  return new WindlassError('WL_GGUF_INVALID', `${path}: ${what} (byte ${offset})`, { details: { file: path, offset } });
}
