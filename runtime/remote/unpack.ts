// Unpacks an archive into a folder that is there only when it is whole, with a list of its files by which that can be seen at any later time.
import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readFile, readdir, rename, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { createGunzip } from 'node:zlib';
import { toWindlassError, WindlassError } from '#runtime/api/errors.ts';
import { checksumsName, formatChecksums, parseChecksums } from './checksums.ts';
import type { ListedFile } from './checksums.ts';
import { readTar } from './tar-reader.ts';
import type { TarFile, TarLimits } from './tar-reader.ts';

export interface UnpackOptions {
  /** For messages. */
  readonly place: string;
  /** Names of files that are unpacked; others, and those whose path has a part that begins with a dot, are passed over. */
  readonly only: RegExp;
  /** What these are, for messages. */
  readonly words: string;
  /** Told how many bytes it will be, before there must be room for them. */
  readonly needs: (bytes: number) => Promise<void>;
  readonly onBytes: (bytes: number, totalBytes: number) => void;
}

/** Folders, and files that are passed over, too. */
const maxEntries = 1_000_000;
/** As many files as a folder on a server may list. */
const maxFiles = 100_000;
/** Text becomes three to ten times smaller, the same sentence for ever a thousand times: more is made to fill disks. */
const greatestRatio = 200;
const leastBytes = 64 * 2 ** 20;

const packings = ['.tar', '.tar.gz', '.tgz'] as const;
export type Packing = (typeof packings)[number];

/** How the name of an archive ends; undefined for other files. */
export function packingOf(path: string): Packing | undefined {
  return packings.find((packing) => path.endsWith(packing));
}

/** Where the files of an archive are that was unpacked into `folder`. */
export const unpackedFiles = (folder: string): string => join(folder, 'files');

/** Whether they all are there, each as it was. `onRead`: so much is read. */
export async function isUnpacked(folder: string, onRead: (bytes: number) => void): Promise<boolean> {
  try {
    const listed = parseChecksums(await readFile(join(folder, checksumsName), 'utf8'), folder);
    const names = await readdir(unpackedFiles(folder), { withFileTypes: true, recursive: true });
    if (names.filter((entry) => !entry.isDirectory()).length !== listed.length) return false;
    let bytes = 0;
    for (const { name, sha256 } of listed) {
      const hash = createHash('sha256');
      for await (const chunk of createReadStream(join(unpackedFiles(folder), name), { highWaterMark: 1 << 20 })) {
        hash.update(chunk as Buffer);
        onRead((bytes += (chunk as Buffer).length));
      }
      if (hash.digest('hex') !== sha256) return false;
    }
    return true;
  } catch {
    // Missing or damaged: it is unpacked anew, which reports what is wrong with the disk if anything is.
    return false;
  }
}

/**
 * Unpacks what the archive has of the wanted files; one that is damaged or not whole is replaced. It is read twice, so that all of it is known to be
 * right before anything is written. Throws WL_DATA_INVALID, also where there is no such file, and WL_DISK_FULL.
 */
export async function unpack(archive: string, packing: Packing, folder: string, options: UnpackOptions): Promise<void> {
  const { place, only, words, needs, onBytes } = options;
  const { size } = await stat(archive);
  const maxBytes = packing === '.tar' ? size : Math.max(leastBytes, greatestRatio * size);
  const files = () => wanted(archive, packing, { place, only, limits: { maxEntries, maxBytes } });
  let [count, total] = [0, 0];
  for await (const { bytes } of files()) {
    if (++count > maxFiles) throw new WindlassError('WL_DATA_INVALID', `${place}: more than ${maxFiles} files`);
    total += bytes;
  }
  if (count === 0) throw new WindlassError('WL_DATA_INVALID', `${place}: the archive has no ${words}`);
  await removeLeft(folder);
  await needs(total);
  await checkRoom(place, dirname(folder), total);
  const partial = `${folder}.new-${randomUUID()}`;
  try {
    const listed: ListedFile[] = [];
    let before = 0;
    for await (const file of files()) {
      const sha256 = await write(file, join(unpackedFiles(partial), file.name), (bytes) => onBytes(before + bytes, total));
      listed.push({ name: file.name, sha256 });
      before += file.bytes;
    }
    await writeFile(join(partial, checksumsName), formatChecksums(listed), { flush: true });
    await rm(folder, { recursive: true, force: true });
    await rename(partial, folder);
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    // A process that was only slow may find that another has taken over, and all is there.
    if (await isUnpacked(folder, () => {})) return;
    throw toWindlassError(error);
  }
}

interface Reading {
  readonly place: string;
  readonly only: RegExp;
  readonly limits: TarLimits;
}

async function* wanted(archive: string, packing: Packing, { place, only, limits }: Reading): AsyncGenerator<TarFile> {
  for await (const file of readTar(bytesOf(archive, packing, place), place, limits)) {
    if (only.test(file.name) && !file.name.split('/').some((part) => part.startsWith('.'))) yield file;
  }
}

async function* bytesOf(archive: string, packing: Packing, place: string): AsyncGenerator<Uint8Array> {
  const file = createReadStream(archive, { highWaterMark: 1 << 18 });
  const unzip = packing === '.tar' ? undefined : createGunzip({ chunkSize: 1 << 18 });
  if (unzip) file.on('error', (error) => unzip.destroy(error)).pipe(unzip);
  try {
    yield* (unzip ?? file) as AsyncIterable<Uint8Array>;
  } catch (error) {
    if (!String((error as { code?: unknown }).code).startsWith('Z_')) throw error;
    throw new WindlassError('WL_DATA_INVALID', `${place}: not gzip: ${(error as Error).message}`, { cause: error });
  } finally {
    unzip?.destroy();
    file.destroy();
  }
}

/** Gives its sha256. */
async function write(file: TarFile, path: string, onBytes: (bytes: number) => void): Promise<string> {
  await mkdir(dirname(path), { recursive: true });
  const hash = createHash('sha256');
  const handle = await open(path, 'wx');
  try {
    let bytes = 0;
    for await (const chunk of file.content) {
      hash.update(chunk);
      await handle.writeFile(chunk);
      onBytes((bytes += chunk.byteLength));
    }
  } finally {
    await handle.close();
  }
  return hash.digest('hex');
}

/** What a kill has left of earlier tries. */
async function removeLeft(folder: string): Promise<void> {
  const above = dirname(folder);
  for (const name of await readdir(above)) {
    const path = join(above, name);
    if (path.startsWith(`${folder}.new-`)) await rm(path, { recursive: true, force: true });
  }
}

async function checkRoom(place: string, folder: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  const missing = bytes - bavail * bsize;
  if (missing <= 0) return;
  throw new WindlassError('WL_DISK_FULL', `${place} has ${bytes} bytes unpacked; ${missing} more are needed at ${folder}`, {
    details: { path: folder, missing },
  });
}
