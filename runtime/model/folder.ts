// Folders that appear whole or not at all, and the digest of their content.
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readdir, rename, rm, rmdir } from 'node:fs/promises';
import { basename, dirname, join, relative, sep } from 'node:path';
import { WindlassError, toWindlassError } from '#runtime/api/errors.ts';

/**
 * Lets `fill` write files into a temporary folder beside `folder`, makes them durable and renames it. Throws WL_FILE_EXISTS if `folder`
 * is there already and not empty. An error leaves nothing behind; what a kill left is removed by the next try.
 */
export async function writeFolder(folder: string, fill: (temporary: string) => Promise<void>): Promise<void> {
  const parent = dirname(folder);
  const temporary = join(parent, `.${basename(folder)}.tmp`);
  try {
    await refuseFilled(folder);
    await mkdir(parent, { recursive: true });
    await rm(temporary, { recursive: true, force: true });
    await mkdir(temporary);
    await fill(temporary);
    for (const path of await filesOf(temporary)) await sync(path);
    await sync(temporary);
    await rmdir(folder).catch(() => undefined);
    await rename(temporary, folder);
    await sync(parent);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    throw toWindlassError(error);
  }
}

async function refuseFilled(folder: string): Promise<void> {
  const entries = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    if (error.code === 'ENOTDIR') return [basename(folder)];
    throw error;
  });
  if (entries.length === 0) return;
  throw new WindlassError('WL_FILE_EXISTS', `${folder} is there already and holds ${entries[0]}`, { details: { path: folder } });
}

async function sync(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** sha256 over the sorted lines `<sha256 of the file>  <path within the folder>\n` of all files below `folder`: what `sha256sum` would print. */
export async function folderDigest(folder: string): Promise<string> {
  const files: FileDigest[] = [];
  try {
    for (const path of await filesOf(folder)) {
      files.push({ name: relative(folder, path).split(sep).join('/'), sha256: await fileDigest(path) });
    }
  } catch (error) {
    throw toWindlassError(error);
  }
  return digestOfFiles(files);
}

export interface FileDigest {
  /** Path within the folder, with `/`. */
  readonly name: string;
  readonly sha256: string;
}

/** The digest of a folder with these files. */
export function digestOfFiles(files: readonly FileDigest[]): string {
  const lines = files.map(({ name, sha256 }) => `${sha256}  ${name}\n`);
  return createHash('sha256').update(lines.sort().join('')).digest('hex');
}

/** sha256 of a file, a megabyte at a time. */
async function fileDigest(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

async function filesOf(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true });
  return entries.filter((entry) => !entry.isDirectory()).map((entry) => join(entry.parentPath, entry.name));
}
