// The safetensors format: its header, written canonically and read with every rule of the format checked before anything is allocated.
import { WindlassError } from '#runtime/api/errors.ts';

/** Bytes per element of the types that may stand in a file. Only those of `readableDTypes` are converted. */
const elementBits: Readonly<Record<string, number>> = {
  F64: 64,
  F32: 32,
  F16: 16,
  BF16: 16,
  I64: 64,
  I32: 32,
  I16: 16,
  I8: 8,
  U64: 64,
  U32: 32,
  U16: 16,
  U8: 8,
  BOOL: 8,
};

/** The largest header that the reference implementation accepts. */
const maxHeaderBytes = 100_000_000;
const maxDims = 8;

export interface TensorInfo {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
}

/** A tensor of a file: its bytes are [begin, end) counted from the start of the file. */
interface StoredTensor extends TensorInfo {
  readonly begin: number;
  readonly end: number;
}

export interface SafetensorsHeader {
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readonly metadata: Readonly<Record<string, string>>;
}

/**
 * The first bytes of a file that holds `tensors` one after the other in the order given: length, JSON, and spaces up to a multiple
 * of 8 bytes. The same tensors give the same bytes.
 */
export function safetensorsHeader(tensors: readonly TensorInfo[], metadata?: Readonly<Record<string, string>>): Uint8Array {
  const entries: [string, unknown][] = metadata ? [['__metadata__', metadata]] : [];
  let offset = 0;
  for (const { name, dtype, shape } of tensors) {
    const bytes = byteSize(dtype, shape);
    if (bytes === undefined) throw new Error(`internal: cannot store ${name} as ${dtype}[${shape.join(', ')}]`);
    entries.push([name, { dtype, shape, data_offsets: [offset, offset + bytes] }]);
    offset += bytes;
  }
  const json = `{${entries.map(([name, entry]) => `${JSON.stringify(name)}:${JSON.stringify(entry)}`).join(',')}}`;
  const text = new TextEncoder().encode(json);
  const padded = Math.ceil(text.length / 8) * 8;
  const header = new Uint8Array(8 + padded).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(padded), true);
  header.set(text, 8);
  return header;
}

/** Length of the JSON part, from the first 8 bytes of a file. Throws WL_SAFETENSORS_INVALID if the file can't hold it. */
export function headerLength(start: Uint8Array, fileBytes: number, file: string): number {
  if (start.length < 8) throw invalid(file, `it has ${start.length} bytes, fewer than the 8 of the header length`);
  const length = new DataView(start.buffer, start.byteOffset).getBigUint64(0, true);
  if (length > BigInt(maxHeaderBytes)) throw invalid(file, `the header length ${length} exceeds ${maxHeaderBytes}`);
  if (length > BigInt(fileBytes - 8)) throw invalid(file, `the header length ${length} exceeds the file of ${fileBytes} bytes`);
  return Number(length);
}

/** Checks and reads the JSON part of a header of a file of `fileBytes`. Throws WL_SAFETENSORS_INVALID, naming the file and the fault. */
export function parseHeader(json: Uint8Array, fileBytes: number, file: string): SafetensorsHeader {
  const entries = parseJson(json, file);
  const metadata: Record<string, string> = {};
  const stored: StoredTensor[] = [];
  const start = 8 + json.length;
  for (const [name, entry] of Object.entries(entries)) {
    if (name === '__metadata__') Object.assign(metadata, parseMetadata(entry, file));
    else stored.push(parseEntry(name, entry, start, file));
  }
  stored.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let position = start;
  for (const tensor of stored) {
    if (tensor.begin !== position) {
      const what = tensor.begin < position ? 'overlaps the one before' : 'leaves a gap before it';
      throw invalid(file, `tensor ${tensor.name} at byte ${tensor.begin - start} ${what}`);
    }
    position = tensor.end;
  }
  if (position !== fileBytes) throw invalid(file, `the tensors end at byte ${position}, the file at ${fileBytes}`);
  return { tensors: new Map(stored.map((tensor) => [tensor.name, tensor])), metadata };
}

function parseJson(json: Uint8Array, file: string): Record<string, unknown> {
  let parsed: unknown;
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(json);
    parsed = JSON.parse(text);
  } catch (cause) {
    throw invalid(file, 'the header is not JSON in UTF-8', cause);
  }
  if (!text.startsWith('{') || !isRecord(parsed)) throw invalid(file, 'the header is not a JSON object');
  const repeated = repeatedKey(text);
  if (repeated !== undefined) throw invalid(file, `the header names ${JSON.stringify(repeated)} twice`);
  return parsed;
}

function parseMetadata(entry: unknown, file: string): Record<string, string> {
  if (isRecord(entry) && Object.values(entry).every((value) => typeof value === 'string')) return entry as Record<string, string>;
  throw invalid(file, '__metadata__ is not an object of strings');
}

function parseEntry(name: string, entry: unknown, start: number, file: string): StoredTensor {
  const fault = (what: string) => invalid(file, `tensor ${name}: ${what}`);
  if (!isRecord(entry)) throw fault('its entry is not an object');
  const { dtype, shape, data_offsets: offsets, ...others } = entry;
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) throw fault(`unknown key ${JSON.stringify(unknown)}`);
  if (typeof dtype !== 'string' || !Object.hasOwn(elementBits, dtype)) throw fault(`unknown dtype ${JSON.stringify(dtype)}`);
  if (!isSizes(shape) || shape.length > maxDims) throw fault(`bad shape ${JSON.stringify(shape)}`);
  if (!isSizes(offsets) || offsets.length !== 2) throw fault(`bad data_offsets ${JSON.stringify(offsets)}`);
  const [begin = 0, end = 0] = offsets;
  const bytes = byteSize(dtype, shape);
  if (bytes === undefined) throw fault(`its size overflows: ${dtype} ${JSON.stringify(shape)}`);
  if (end - begin !== bytes)
    throw fault(`${dtype} ${JSON.stringify(shape)} needs ${bytes} bytes, its offsets span ${end - begin}`);
  return { name, dtype, shape, begin: start + begin, end: start + end };
}

/** Bytes of a tensor; undefined for an unknown type or where the product leaves the exact integers. */
function byteSize(dtype: string, shape: readonly number[]): number | undefined {
  const bits = elementBits[dtype];
  if (bits === undefined) return undefined;
  let bytes = bits / 8;
  for (const dim of shape) {
    bytes *= dim;
    if (!Number.isSafeInteger(bytes)) return undefined;
  }
  return bytes;
}

/** The first key that stands twice in the top-level object or in an entry of it; JSON.parse would silently keep the last. */
function repeatedKey(text: string): string | undefined {
  const open: (Set<string> | undefined)[] = [];
  const token = /"(?:[^"\\]|\\.)*"(\s*:)?|[[\]{}]/g;
  for (const [match, colon] of text.matchAll(token)) {
    if (match === '{') open.push(new Set());
    else if (match === '[') open.push(undefined);
    else if (match === '}' || match === ']') open.pop();
    else if (colon !== undefined) {
      const key = JSON.parse(match.slice(0, match.length - colon.length)) as string;
      const keys = open.at(-1);
      if (keys?.has(key)) return key;
      keys?.add(key);
    }
  }
  return undefined;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}

function invalid(file: string, what: string, cause?: unknown): WindlassError {
  return new WindlassError('WL_SAFETENSORS_INVALID', `${file}: ${what}`, { cause, details: { file } });
}
