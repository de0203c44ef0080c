// Reads tar archives as they come: POSIX ustar and pax, and the long names of GNU; files and folders only, and within limits.
import { WindlassError } from '#runtime/api/errors.ts';
import { isInside } from './checksums.ts';

export interface TarFile {
  /** Path within the archive, with `/`: leads nowhere else, and is no other file's. */
  readonly name: string;
  readonly bytes: number;
  /** Valid until the next file is asked for; what is not read is passed over. Each chunk is valid until the next one. */
  readonly content: AsyncIterable<Uint8Array>;
}

export interface TarLimits {
  readonly maxEntries: number;
  /** Of all entries together. */
  readonly maxBytes: number;
}

const block = 512;
/** A long name or the attributes of a file: more is no name. */
const maxAttributeBytes = 1 << 20;
const maxPartBytes = 255;

/**
 * The files of an archive, in its order. Throws WL_DATA_INVALID, with `place` in front, for what is cut off or malformed, links, devices, names that
 * lead out of the archive or are there twice, and more than the limits.
 */
export async function* readTar(source: AsyncIterable<Uint8Array>, place: string, limits: TarLimits): AsyncGenerator<TarFile> {
  const refuse = (why: string): never => {
    throw new WindlassError('WL_DATA_INVALID', `${place}: ${why}`, { details: { path: place } });
  };
  const bytes = new ByteReader(source, () => refuse('the archive is cut off'));
  const names = new NameCheck(refuse);
  let [entries, total] = [0, 0];
  let given: Attributes = {};
  try {
    for (;;) {
      const raw = await bytes.whole(block, true);
      if (raw === undefined || raw.every((byte) => byte === 0)) return;
      if (++entries > limits.maxEntries) refuse(`the archive has more than ${limits.maxEntries} entries`);
      const header = parseHeader(raw) ?? refuse(`entry ${entries} of the archive is malformed`);
      const { type } = header;
      const size = (isAttributes(type) ? undefined : given.bytes) ?? header.bytes;
      if ((total += size) > limits.maxBytes) refuse(`the archive has more than ${limits.maxBytes} bytes`);
      if (isAttributes(type)) {
        if (size > maxAttributeBytes) refuse(`the attributes of entry ${entries} have ${size} bytes`);
        const text = (await bytes.whole(padded(size)))?.subarray(0, size) ?? new Uint8Array();
        if (type === 'L') given = { ...given, name: textOf(text) ?? refuse(`the name of entry ${entries} is not UTF-8`) };
        if (type === 'x')
          given = { ...given, ...(paxAttributes(text) ?? refuse(`the attributes of entry ${entries} are malformed`)) };
        continue;
      }
      const written = given.name ?? header.name ?? refuse(`the name of entry ${entries} is not UTF-8`);
      given = {};
      const isFolder = type === '5';
      if (!isFolder && type !== '0')
        refuse(`${JSON.stringify(written)} is ${wordsOf(type)}; an archive may hold files and folders only`);
      const name = names.check(written, isFolder);
      if (isFolder) {
        await bytes.pass(padded(size));
        continue;
      }
      const before = bytes.position;
      yield { name, bytes: size, content: bytes.next(size) };
      await bytes.pass(before + padded(size) - bytes.position);
    }
  } finally {
    await bytes.close();
  }
}

interface Header {
  /** Absent where it is not UTF-8. */
  readonly name: string | undefined;
  readonly type: string;
  readonly bytes: number;
}

/** What an entry before the one that it is about says of it. */
interface Attributes {
  readonly name?: string;
  readonly bytes?: number;
}

/** Of the next entry, by pax (`x`) or GNU (`L`, and `K` for links), or of all of them (`g`), of which nothing is wanted. */
const isAttributes = (type: string): boolean => type === 'x' || type === 'L' || type === 'K' || type === 'g';

const padded = (bytes: number): number => Math.ceil(bytes / block) * block;

/** POSIX.1-2001, ustar interchange format; undefined where the checksum is not that of the header, or the size is no number. */
function parseHeader(raw: Uint8Array): Header | undefined {
  const sum = raw.reduce((before, byte, at) => before + (at >= 148 && at < 156 ? 0x20 : byte), 0);
  const bytes = numberAt(raw, 124, 12);
  if (numberAt(raw, 148, 8) !== sum || bytes === undefined) return undefined;
  const isUstar = Buffer.from(raw.subarray(257, 263)).toString('latin1') === 'ustar\0';
  const [name, prefix] = [textAt(raw, 0, 100), isUstar ? textAt(raw, 345, 155) : ''];
  const code = String.fromCharCode(raw[156] ?? 0);
  // A file of before POSIX is one of type NUL; one that lies in one piece is a file like others; a folder was a file whose name ends with a slash.
  const old = code === '\0' || code === '7' ? '0' : code;
  const type = old === '0' && name?.endsWith('/') ? '5' : old;
  return {
    name: name === undefined || prefix === undefined ? undefined : prefix === '' ? name : `${prefix}/${name}`,
    type,
    bytes,
  };
}

/** Octal digits, or where these do not do, a number of base 256 after a byte 0x80. */
function numberAt(raw: Uint8Array, at: number, width: number): number | undefined {
  const field = raw.subarray(at, at + width);
  if (field[0] === 0x80) {
    const value = field.subarray(1).reduce((before, byte) => before * 256 + byte, 0);
    return Number.isSafeInteger(value) ? value : undefined;
  }
  const [, digits] = /^ *([0-7]+)[ \0]*$/.exec(Buffer.from(field).toString('latin1')) ?? [];
  return digits === undefined ? undefined : Number.parseInt(digits, 8);
}

function textAt(raw: Uint8Array, at: number, width: number): string | undefined {
  return textOf(raw.subarray(at, at + width));
}

/** Up to a NUL. */
function textOf(raw: Uint8Array): string | undefined {
  const end = raw.indexOf(0);
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(end < 0 ? raw : raw.subarray(0, end));
  } catch {
    return undefined;
  }
}

/** Records `LENGTH KEY=VALUE\n`, of which path and size count; sizes of sparse files are of another kind and are none. */
function paxAttributes(raw: Uint8Array): Attributes | undefined {
  let attributes: Attributes = {};
  for (let at = 0; at < raw.length;) {
    const space = raw.indexOf(0x20, at);
    const length = space < 0 ? NaN : digitsOf(Buffer.from(raw.subarray(at, space)).toString('latin1'));
    const end = at + length;
    if (!(end <= raw.length) || end <= space + 1 || raw[end - 1] !== 0x0a) return undefined;
    const equals = raw.indexOf(0x3d, space);
    if (equals < 0 || equals >= end) return undefined;
    const key = Buffer.from(raw.subarray(space + 1, equals)).toString('latin1');
    const value = textOf(raw.subarray(equals + 1, end - 1));
    if (key === 'path') {
      if (value === undefined) return undefined;
      attributes = { ...attributes, name: value };
    }
    if (key === 'size') {
      const bytes = digitsOf(value ?? '');
      if (Number.isNaN(bytes)) return undefined;
      attributes = { ...attributes, bytes };
    }
    if (key.startsWith('GNU.sparse.')) return undefined;
    at = end;
  }
  return attributes;
}

const digitsOf = (text: string): number => (/^\d{1,15}$/.test(text) ? Number(text) : NaN);

const wordsOf = (type: string): string =>
  type === '1' || type === '2' ? 'a link' : type === '3' || type === '4' || type === '6' ? 'a device' : 'of an unknown kind';

/** Lets pass what can lie side by side in one folder. */
class NameCheck {
  readonly #files = new Set<string>();
  readonly #folders = new Set<string>();
  readonly #refuse: (why: string) => never;

  constructor(refuse: (why: string) => never) {
    this.#refuse = refuse;
  }

  /** The name without `./` in front and `/` at the end; empty for the folder of all. */
  check(written: string, isFolder: boolean): string {
    const name = written.replace(/^(\.\/+)+/, '').replace(isFolder ? /\/+$/ : /$^/, '');
    if (isFolder && (name === '' || name === '.') && !written.startsWith('/')) return '';
    const parts = name.split('/');
    const quoted = JSON.stringify(written.slice(0, 200));
    if (!isInside(name) || parts.some((part) => Buffer.byteLength(part) > maxPartBytes))
      this.#refuse(`${quoted} is no path within the archive`);
    const above = parts.slice(0, -1).map((_, index) => parts.slice(0, index + 1).join('/'));
    if (this.#files.has(name) || above.some((folder) => this.#files.has(folder)) || (!isFolder && this.#folders.has(name)))
      this.#refuse(`${quoted} is in the archive twice`);
    for (const folder of above) this.#folders.add(folder);
    (isFolder ? this.#folders : this.#files).add(name);
    return name;
  }
}

/** Bytes in pieces of the sizes that are wanted, whatever the sizes that they come in. */
class ByteReader {
  readonly #source: AsyncIterator<Uint8Array>;
  readonly #cutOff: () => never;
  #rest: Uint8Array = new Uint8Array();
  /** How many were given away. */
  position = 0;

  constructor(source: AsyncIterable<Uint8Array>, cutOff: () => never) {
    this.#source = source[Symbol.asyncIterator]();
    this.#cutOff = cutOff;
  }

  /** At most `most`, at least one; undefined at the end. */
  async #some(most: number): Promise<Uint8Array | undefined> {
    while (this.#rest.byteLength === 0) {
      const { done, value } = await this.#source.next();
      if (done) return undefined;
      this.#rest = value;
    }
    const some = this.#rest.subarray(0, most);
    this.#rest = this.#rest.subarray(some.byteLength);
    this.position += some.byteLength;
    return some;
  }

  /** Exactly so many. Undefined where there are none and `mayEnd`. */
  async whole(count: number, mayEnd = false): Promise<Uint8Array | undefined> {
    const parts: Uint8Array[] = [];
    for (let missing = count; missing > 0;) {
      const some = await this.#some(missing);
      if (!some) return mayEnd && missing === count ? undefined : this.#cutOff();
      parts.push(Uint8Array.from(some));
      missing -= some.byteLength;
    }
    return Buffer.concat(parts);
  }

  async pass(count: number): Promise<void> {
    for await (const _ of this.next(count));
  }

  async *next(count: number): AsyncGenerator<Uint8Array> {
    for (let missing = count; missing > 0;) {
      const some = (await this.#some(missing)) ?? this.#cutOff();
      missing -= some.byteLength;
      yield some;
    }
  }

  async close(): Promise<void> {
    await this.#source.return?.();
  }
}
