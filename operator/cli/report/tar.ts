// Packs texts into a tar archive (POSIX ustar), compressed by gzip.
import { gzipSync } from 'node:zlib';

export interface Packed {
  /** At most 255 bytes, with a slash where it can be cut into 155 and 100. */
  readonly path: string;
  readonly text: string;
}

const blockBytes = 512;

/** The archive; files belong to nobody, and only their owner may read them. `time` in ms. Throws RangeError for a path that is too long. */
export function packTarGz(files: readonly Packed[], time: number): Buffer {
  const blocks = files.flatMap(({ path, text }) => {
    const content = Buffer.from(text);
    return [headerOf(path, content.length, time), content, Buffer.alloc(-content.length & (blockBytes - 1))];
  });
  return gzipSync(Buffer.concat([...blocks, Buffer.alloc(2 * blockBytes)]));
}

function headerOf(path: string, size: number, time: number): Buffer {
  const [prefix, name] = splitPath(path);
  const header = Buffer.alloc(blockBytes);
  const octal = (value: number, length: number) => `${value.toString(8).padStart(length - 1, '0')}\0`;
  const fields: [text: string, offset: number][] = [
    [name, 0],
    [octal(0o600, 8), 100],
    [octal(0, 8), 108],
    [octal(0, 8), 116],
    [octal(size, 12), 124],
    [octal(Math.floor(time / 1000), 12), 136],
    [' '.repeat(8), 148],
    ['0', 156],
    ['ustar\x0000', 257],
    [prefix, 345],
  ];
  for (const [text, offset] of fields) header.write(text, offset);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return header;
}

function splitPath(path: string): [prefix: string, name: string] {
  if (Buffer.byteLength(path) <= 100) return ['', path];
  const cut = path.indexOf('/', path.length - 101);
  const [prefix, name] = [path.slice(0, cut), path.slice(cut + 1)];
  if (cut < 0 || Buffer.byteLength(prefix) > 155 || Buffer.byteLength(name) > 100)
    throw new RangeError(`the path ${path} is too long for tar`);
  return [prefix, name];
}
