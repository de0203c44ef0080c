// Writes tar archives that depend on nothing but what is put in: no clock, no owner, no order of a file system.

export type Entry =
  | { readonly path: string; readonly type: 'file'; readonly data: Buffer; readonly executable?: boolean }
  | { readonly path: string; readonly type: 'directory'; readonly mode?: number }
  | { readonly path: string; readonly type: 'link'; readonly target: string };

const block = 512;
/** Longest path that a ustar header holds without help; longer ones get a pax header of their own. */
const nameLength = 100;

/** A ustar archive of the entries in the order of their paths, with the folders that lead to them. Paths are relative, without `./`. */
export function tar(entries: readonly Entry[]): Buffer {
  const byPath = new Map(entries.map((entry) => [entry.path, entry]));
  for (const { path } of entries) {
    for (let folder = parent(path); folder !== ''; folder = parent(folder)) {
      if (!byPath.has(folder)) byPath.set(folder, { path: folder, type: 'directory' });
    }
  }
  const sorted = [...byPath.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
  return Buffer.concat([...sorted.flatMap(records), Buffer.alloc(2 * block)]);
}

const parent = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf('/')));

function records(entry: Entry): Buffer[] {
  const name = entry.type === 'directory' ? `${entry.path}/` : entry.path;
  const long = Buffer.byteLength(name) > nameLength ? paxPath(name) : [];
  if (entry.type === 'link') return [...long, header(name, '2', 0o777, 0, entry.target)];
  if (entry.type === 'directory') return [...long, header(name, '5', entry.mode ?? 0o755, 0)];
  return [...long, header(name, '0', entry.executable ? 0o755 : 0o644, entry.data.length), ...padded(entry.data)];
}

function padded(data: Buffer): Buffer[] {
  const rest = data.length % block;
  return rest === 0 ? [data] : [data, Buffer.alloc(block - rest)];
}

/** The extended header of POSIX.1-2001: a record that counts its own length. */
function paxPath(path: string): Buffer[] {
  const content = ` path=${path}\n`;
  let length = Buffer.byteLength(content);
  length += String(length + String(length).length).length;
  const record = Buffer.from(`${length}${content}`);
  return [header('pax', 'x', 0o644, record.length), ...padded(record)];
}

/** Offsets and widths of the fields: POSIX.1-2001, ustar interchange format. */
function header(name: string, type: string, mode: number, size: number, target = ''): Buffer {
  if (Buffer.byteLength(target) > nameLength) throw new Error(`the target of the link ${name} is too long`);
  const out = Buffer.alloc(block);
  out.write(Buffer.from(name).subarray(0, nameLength).toString('latin1'), 0, 'latin1');
  const octal = (value: number, width: number): string => `${value.toString(8).padStart(width - 1, '0')}\0`;
  out.write(octal(mode, 8), 100);
  out.write(octal(0, 8), 108);
  out.write(octal(0, 8), 116);
  out.write(octal(size, 12), 124);
  out.write(octal(0, 12), 136);
  out.write(' '.repeat(8), 148);
  out.write(type, 156);
  out.write(target, 157);
  out.write('ustar\x0000', 257);
  const sum = out.reduce((total, byte) => total + byte, 0);
  out.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return out;
}
