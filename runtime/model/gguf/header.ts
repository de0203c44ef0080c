// The head of a GGUF file: metadata and the places of the tensors. No count, length or offset of it is believed before it is checked.
import { WindlassError } from '#runtime/api/errors.ts';
import { TextTable, isUtf8 } from '#runtime/api/text-table.ts';
import { ggufBytes, ggufTensorType, ggufTensorTypes, unsupportedTypes } from './tensor-types.ts';
import type { GgufTensorType } from './tensor-types.ts';

const scalarTypes = ['u8', 'i8', 'u16', 'i16', 'u32', 'i32', 'f32', 'bool', 'string', 'array', 'u64', 'i64', 'f64'] as const;
type ScalarType = Exclude<(typeof scalarTypes)[number], 'array'>;
const scalarBytes = { u8: 1, i8: 1, u16: 2, i16: 2, u32: 4, i32: 4, f32: 4, bool: 1, u64: 8, i64: 8, f64: 8 } as const;

/** An array stays in the file's bytes until somebody asks for its items: vocabularies have hundreds of thousands. */
export interface GgufArray {
  readonly type: 'array';
  readonly items: ScalarType;
  readonly count: number;
  /** Place of the first item, counted from the start of the file. */
  readonly begin: number;
  readonly end: number;
}

export interface GgufScalar {
  readonly type: ScalarType;
  /** 64-bit integers that a number cannot hold are bigint. */
  readonly value: number | bigint | boolean | string;
}

type GgufEntry = (GgufScalar | GgufArray) & {
  /** Its bytes in the file: type and value. */
  readonly place: { readonly begin: number; readonly end: number };
};

/** A tensor of a file: its bytes are [begin, end) counted from the start of the file. */
export interface StoredTensor {
  readonly name: string;
  readonly type: GgufTensorType;
  /** Row-major, outermost dim first; the file lists it the other way round. */
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

export interface GgufHeader {
  readonly version: number;
  readonly metadata: ReadonlyMap<string, GgufEntry>;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** Where the data of the tensors begins. */
  readonly dataBegin: number;
}

/** Many times what the largest models have (some 60 entries, some 2,000 tensors). */
const maxEntries = 1 << 16;
const maxTensors = 1 << 16;
/** Of the format's description. */
const maxKeyBytes = 65_535;
/** llama.cpp takes names of fewer than 64 bytes; some converters of other programs write longer ones. */
const maxNameBytes = 256;
const maxStringBytes = 4 << 20;
const maxDims = 4;
const maxAlignment = 1 << 16;
const defaultAlignment = 32;
/** Lengths of the shortest entry and the shortest description of a tensor. */
const minEntryBytes = 8 + 1 + 4 + 1;
const minTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;

/**
 * Reads the head of a file of `fileBytes` from its first bytes; undefined if they end before the head does, so that more must be read.
 * Throws WL_GGUF_INVALID with the fault and its place, WL_MODEL_INVALID for a tensor type that is not supported.
 */
export function parseGgufHeader(bytes: Uint8Array, fileBytes: number, file: string): GgufHeader | undefined {
  try {
    return parse(new Cursor(bytes, fileBytes, file));
  } catch (error) {
    if (error instanceof MoreNeeded) return undefined;
    throw error;
  }
}

function parse(cursor: Cursor): GgufHeader {
  if (cursor.latin1(4) !== 'GGUF') throw cursor.fault('it does not begin with GGUF', 0);
  const version = cursor.u32();
  if (version !== 2 && version !== 3) throw cursor.fault(versionFault(version), 4);
  const tensorCount = cursor.count('tensors', maxTensors, minTensorBytes);
  const entryCount = cursor.count('metadata entries', maxEntries, minEntryBytes);
  const metadata = new Map<string, GgufEntry>();
  for (let index = 0; index < entryCount; index += 1) {
    const at = cursor.position;
    const key = cursor.string(`the key of metadata entry ${index}`, maxKeyBytes);
    if (key === '') throw cursor.fault(`the key of metadata entry ${index} is empty`, at);
    if (metadata.has(key)) throw cursor.fault(`metadata key ${quoted(key)} stands twice`, at);
    const begin = cursor.position;
    const entry = readEntry(cursor, key);
    metadata.set(key, { ...entry, place: { begin, end: cursor.position } });
  }
  const alignment = alignmentOf(metadata, cursor);
  const described: Described[] = [];
  const names = new Set<string>();
  let dataBytes = 0;
  for (let index = 0; index < tensorCount; index += 1) {
    const tensor = readTensor(cursor, index, alignment);
    if (names.has(tensor.name)) throw cursor.fault(`tensor ${quoted(tensor.name)} stands twice`, tensor.at);
    names.add(tensor.name);
    described.push(tensor);
    dataBytes += tensor.bytes;
    if (dataBytes > cursor.fileBytes) {
      throw cursor.fault(`its tensors need over ${dataBytes} bytes, the file has ${cursor.fileBytes}`, tensor.at);
    }
  }
  const dataBegin = Math.ceil(cursor.position / alignment) * alignment;
  return { version, metadata, tensors: placed(described, dataBegin, cursor), dataBegin };
}

function versionFault(version: number): string {
  if (version === 1) return 'it is of version 1 of the format, which nothing writes any more; convert it to version 3';
  if ((version & 0xffff) === 0 && version !== 0) return 'its numbers are big-endian, which is not supported';
  return `it is of version ${version} of the format; supported are 2 and 3`;
}

function readEntry(cursor: Cursor, key: string): GgufScalar | GgufArray {
  const at = cursor.position;
  const type = readType(cursor, key);
  if (type !== 'array') return { type, value: cursor.scalar(type, `metadata ${quoted(key)}`) };
  const items = readType(cursor, key);
  if (items === 'array') throw cursor.fault(`metadata ${quoted(key)} is an array of arrays, which is not supported`, at);
  const count = cursor.u64(`the length of metadata ${quoted(key)}`);
  const begin = cursor.position;
  if (items === 'string') {
    cursor.refuseShort(count, 8, `the ${count} strings of metadata ${quoted(key)}`);
    for (let index = 0; index < count; index += 1) cursor.skipString(key);
  } else {
    cursor.refuseShort(count, scalarBytes[items], `the ${count} items of metadata ${quoted(key)}`);
    cursor.skip(count * scalarBytes[items]);
  }
  return { type: 'array', items, count, begin, end: cursor.position };
}

function readType(cursor: Cursor, key: string): (typeof scalarTypes)[number] {
  const at = cursor.position;
  const id = cursor.u32();
  const type = scalarTypes[id];
  if (type === undefined) throw cursor.fault(`metadata ${quoted(key)} is of the unknown type ${id}`, at);
  return type;
}

function alignmentOf(metadata: ReadonlyMap<string, GgufEntry>, cursor: Cursor): number {
  const entry = metadata.get('general.alignment');
  if (!entry) return defaultAlignment;
  const value = entry.type === 'u32' ? Number(entry.value) : 0;
  if (value >= 1 && value <= maxAlignment && (value & (value - 1)) === 0) return value;
  throw cursor.fault(`general.alignment is no power of two of type u32 up to ${maxAlignment}`, cursor.position);
}

interface Described extends Omit<StoredTensor, 'begin' | 'end'> {
  /** Place of the description. */
  readonly at: number;
  /** From the beginning of the data. */
  readonly offset: number;
  readonly bytes: number;
}

function readTensor(cursor: Cursor, index: number, alignment: number): Described {
  const at = cursor.position;
  const name = cursor.string(`the name of tensor ${index}`, maxNameBytes);
  if (name === '') throw cursor.fault(`the name of tensor ${index} is empty`, at);
  const fault = (what: string, place = at) => cursor.fault(`tensor ${quoted(name)}: ${what}`, place);
  const dimCount = cursor.u32();
  if (dimCount < 1 || dimCount > maxDims) throw fault(`it has ${dimCount} dims; 1 to ${maxDims} are possible`);
  const dims: number[] = [];
  let values = 1;
  for (let dim = 0; dim < dimCount; dim += 1) {
    const place = cursor.position;
    const size = cursor.u64(`dim ${dim} of tensor ${quoted(name)}`);
    if (size === 0) throw fault(`dim ${dim} is 0`, place);
    values *= size;
    // 2 bytes of a block hold at most 32 values, so whatever fits the file passes.
    if (values > 32 * cursor.fileBytes) throw fault(`its dims ask for over ${values} values, more than the file can hold`, place);
    dims.push(size);
  }
  const typePlace = cursor.position;
  const id = cursor.u32();
  const type = ggufTensorType(id);
  if (!type) throw unsupported(cursor.file, name, id, typePlace);
  const [row = 1] = dims;
  const { blockValues } = ggufTensorTypes[type];
  if (row % blockValues !== 0) throw fault(`its rows of ${row} values are no whole blocks of ${type}, which have ${blockValues}`);
  const offsetPlace = cursor.position;
  const offset = cursor.u64(`the offset of tensor ${quoted(name)}`);
  if (offset % alignment !== 0) throw fault(`its offset ${offset} is no multiple of the alignment ${alignment}`, offsetPlace);
  return { at, name, type, shape: dims.toReversed(), offset, bytes: ggufBytes(type, values) };
}

/** The tensors with their places in the file; none may reach over its end or into another. */
function placed(described: readonly Described[], dataBegin: number, cursor: Cursor): Map<string, StoredTensor> {
  const sorted = [...described].sort((a, b) => a.offset - b.offset);
  let before: Described | undefined;
  for (const tensor of sorted) {
    const fault = (what: string) => cursor.fault(`tensor ${quoted(tensor.name)} ${what}`, tensor.at);
    const end = dataBegin + tensor.offset + tensor.bytes;
    if (end > cursor.fileBytes) throw fault(`ends at byte ${end}, the file at ${cursor.fileBytes}`);
    if (before && before.offset + before.bytes > tensor.offset) throw fault(`overlaps tensor ${quoted(before.name)}`);
    before = tensor;
  }
  return new Map(
    described.map(({ name, type, shape, offset, bytes }) => {
      const begin = dataBegin + offset;
      return [name, { name, type, shape, begin, end: begin + bytes }];
    }),
  );
}

function unsupported(file: string, name: string, id: number, offset: number): WindlassError {
  const called = unsupportedTypes.get(id);
  const known = Object.keys(ggufTensorTypes).join(', ');
  return new WindlassError(
    'WL_MODEL_INVALID',
    `${file}: tensor ${quoted(name)} is of type ${called ?? `${id}, which is unknown`}; supported are ${known}`,
    { details: { file, offset } },
  );
}

/** The items of an array of strings. Throws WL_GGUF_INVALID where one is not UTF-8. */
export function arrayTexts(bytes: Uint8Array, array: GgufArray, file: string): TextTable {
  const cursor = new Cursor(bytes.subarray(0, array.end), array.end, file);
  cursor.skip(array.begin);
  const [begins, ends] = [new Uint32Array(array.count), new Uint32Array(array.count)];
  for (let index = 0; index < array.count; index += 1) {
    const at = cursor.position;
    cursor.skipString(`item ${index}`);
    if (!isUtf8(bytes, at + 8, cursor.position)) throw cursor.fault(`item ${index} is not UTF-8`, at);
    begins[index] = at + 8;
    ends[index] = cursor.position;
  }
  return new TextTable(bytes, begins, ends);
}

/** The items of an array of numbers or flags (as 0 and 1). 64-bit integers are rounded to the next number. */
export function* arrayNumbers(bytes: Uint8Array, array: GgufArray, file: string): Generator<number> {
  const cursor = new Cursor(bytes.subarray(0, array.end), array.end, file);
  cursor.skip(array.begin);
  for (let index = 0; index < array.count; index += 1) yield Number(cursor.scalar(array.items, `item ${index}`));
}

/** The bytes at hand end before the head of the file does. */
class MoreNeeded extends Error {}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Walks over the first bytes of a file, little-endian. */
class Cursor {
  readonly fileBytes: number;
  readonly file: string;
  position = 0;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;

  constructor(bytes: Uint8Array, fileBytes: number, file: string) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.fileBytes = fileBytes;
    this.file = file;
  }

  fault(what: string, offset: number): WindlassError {
    return new WindlassError('WL_GGUF_INVALID', `${this.file}: ${what} (byte ${offset})`, {
      details: { file: this.file, offset },
    });
  }

  /** Steps over `bytes` and gives the place where they begin. */
  skip(bytes: number): number {
    const begin = this.position;
    const end = begin + bytes;
    if (end > this.fileBytes) throw this.fault(`it ends at byte ${this.fileBytes}, in the middle of its head`, begin);
    if (end > this.#bytes.length) throw new MoreNeeded();
    this.position = end;
    return begin;
  }

  /** Refuses a count of items that the rest of the file cannot hold. */
  refuseShort(count: number, itemBytes: number, what: string): void {
    const left = this.fileBytes - this.position;
    if (count > left / itemBytes) throw this.fault(`${what} need more than the ${left} bytes that follow`, this.position);
  }

  count(what: string, limit: number, itemBytes: number): number {
    const at = this.position;
    const count = this.u64(`the number of ${what}`);
    if (count > limit) throw this.fault(`it says that it has ${count} ${what}, more than ${limit}`, at);
    this.refuseShort(count, itemBytes, `its ${count} ${what}`);
    return count;
  }

  u32(): number {
    return this.#view.getUint32(this.skip(4), true);
  }

  /** A count, length or place: those that no file can reach are refused. */
  u64(what: string): number {
    const at = this.skip(8);
    const high = this.#view.getUint32(at + 4, true);
    const value = high * 2 ** 32 + this.#view.getUint32(at, true);
    if (high >= 2 ** 21) throw this.fault(`${what} is ${this.#view.getBigUint64(at, true)}, which no file reaches`, at);
    return value;
  }

  latin1(length: number): string {
    const begin = this.skip(length);
    return Buffer.from(this.#bytes.subarray(begin, this.position)).toString('latin1');
  }

  string(what: string, limit: number): string {
    const at = this.position;
    const length = this.u64(`the length of ${what}`);
    if (length > limit) throw this.fault(`${what} has ${length} bytes, more than ${limit}`, at);
    const begin = this.skip(length);
    try {
      return strictUtf8.decode(this.#bytes.subarray(begin, this.position));
    } catch {
      throw this.fault(`${what} is not UTF-8`, at);
    }
  }

  skipString(key: string): void {
    const at = this.skip(8);
    const length = this.#view.getUint32(at + 4, true) * 2 ** 32 + this.#view.getUint32(at, true);
    if (length > maxStringBytes) {
      throw this.fault(`a string of metadata ${quoted(key)} has ${length} bytes, more than ${maxStringBytes}`, at);
    }
    this.skip(length);
  }

  scalar(type: ScalarType, what: string): number | bigint | boolean | string {
    if (type === 'string') return this.string(what, maxStringBytes);
    const at = this.skip(scalarBytes[type]);
    const view = this.#view;
    switch (type) {
      case 'u8':
        return view.getUint8(at);
      case 'i8':
        return view.getInt8(at);
      case 'u16':
        return view.getUint16(at, true);
      case 'i16':
        return view.getInt16(at, true);
      case 'u32':
        return view.getUint32(at, true);
      case 'i32':
        return view.getInt32(at, true);
      case 'f32':
        return view.getFloat32(at, true);
      case 'f64':
        return view.getFloat64(at, true);
      case 'u64':
        return exact(view.getBigUint64(at, true));
      case 'i64':
        return exact(view.getBigInt64(at, true));
      case 'bool': {
        const byte = view.getUint8(at);
        if (byte > 1) throw this.fault(`${what} is a flag of the value ${byte}`, at);
        return byte === 1;
      }
    }
  }
}

function exact(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

/** A name out of the file, short enough for a message. */
function quoted(name: string): string {
  return JSON.stringify(name.length > 80 ? `${name.slice(0, 80)}…` : name);
}
