// For tests and fuzzing: tar archives entry by entry, that can say what no honest writer would.
const block = 512;

export interface RawEntry {
  readonly name: string | Uint8Array;
  readonly content?: string | Uint8Array;
  /** Default: a file. */
  readonly type?: string;
  /** What the header says of the size, if not the truth. */
  readonly size?: number | string;
  readonly target?: string;
  readonly prefix?: string;
}

/** An archive with two blocks of zeros at its end. */
export function rawTar(...entries: readonly RawEntry[]): Buffer {
  return Buffer.concat([...entries.map(rawEntry), Buffer.alloc(2 * block)]);
}

function rawEntry({ name, content = '', type = '0', size, target = '', prefix = '' }: RawEntry): Buffer {
  const data = Buffer.from(content as Uint8Array);
  const header = Buffer.alloc(block);
  Buffer.from(name as Uint8Array).copy(header, 0, 0, 100);
  header.write('0000644\0', 100);
  header.write(typeof size === 'string' ? size : `${(size ?? data.length).toString(8).padStart(11, '0')}\0`, 124, 12, 'latin1');
  header.write('00000000000\0', 136);
  header.write(type, 156, 'latin1');
  header.write(target, 157, 100);
  header.write('ustar\x0000', 257, 'latin1');
  header.write(prefix, 345, 155);
  return Buffer.concat([sealed(header), data, Buffer.alloc((block - (data.length % block)) % block)]);
}

/** A record of a pax header. */
export function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  let length = Buffer.byteLength(rest);
  length += String(length + String(length).length).length;
  return `${length}${rest}`;
}

/** The header with its checksum. */
function sealed(header: Buffer): Buffer {
  header.fill(0x20, 148, 156);
  const sum = header.reduce((before, byte) => before + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return header;
}

/** Whatever looks like a header gets its checksum again, so that changes of it count. */
export function resealed(archive: Uint8Array): Buffer {
  const bytes = Buffer.from(archive);
  for (let at = 0; at + block <= bytes.length; at += block) {
    if (bytes.toString('latin1', at + 257, at + 262) === 'ustar') sealed(bytes.subarray(at, at + block));
  }
  return bytes;
}
