// Fetches a folder that a server has: its list of files, which the digest vouches for, and then each file, which the list vouches for.
import { readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { checksumsName, digestOfList, largestListBytes, parseChecksums } from './checksums.ts';
import type { ListedFile } from './checksums.ts';
import type { RemoteClient } from './client.ts';
import { download, mismatch } from './download.ts';
import { untilDone } from './retry.ts';
import { inFolder, shown } from './url.ts';

export interface RemoteFile extends ListedFile {
  /** Absent where the server does not say. */
  readonly bytes?: number;
}

/** Files whose sizes are asked for at the same time. */
const asking = 4;

/** Where the list of a folder is kept: beside it, as it is none of its files. */
const listOf = (folder: string): string => `${folder}.${checksumsName}`;

/**
 * The files of a folder on a server, by its list as it lies beside `folder`, or else by the server's. Throws WL_DIGEST_MISMATCH where that is another one
 * than that of `digest` (in hexadecimal), and as `download` does.
 */
export async function remoteFiles(client: RemoteClient, url: URL, digest: string, folder: string): Promise<ListedFile[]> {
  const at = inFolder(url, checksumsName);
  const path = listOf(folder);
  const read = async () => parseChecksums(await readFile(path, 'utf8'), shown(at));
  const known = await read().catch(() => undefined);
  if (known && digestOfList(known) === digest) return known;
  await rm(path, { force: true });
  await download(client, at, { path, maxBytes: largestListBytes });
  const files = await read();
  const found = digestOfList(files);
  if (found === digest) return files;
  await rm(path);
  throw mismatch(at, found, digest);
}

/** Their sizes: as they lie in `folder`, or else as far as the server says. */
export async function sizesOf(
  client: RemoteClient,
  url: URL,
  files: readonly ListedFile[],
  folder: string,
): Promise<RemoteFile[]> {
  const sizeOf = async (name: string) => {
    const there = await stat(join(folder, name)).catch(() => undefined);
    return there ? { bytes: there.size } : await askForSize(client, inFolder(url, name));
  };
  const sized: RemoteFile[] = [];
  for (let index = 0; index < files.length; index += asking) {
    const some = files.slice(index, index + asking);
    sized.push(...(await Promise.all(some.map(async (file) => ({ ...file, ...(await sizeOf(file.name)) })))));
  }
  return sized;
}

/** Fetches these files into `folder`, or finds them there. `onBytes`: of all files together. */
export async function downloadFiles(
  client: RemoteClient,
  url: URL,
  files: readonly ListedFile[],
  folder: string,
  onBytes: (bytes: number) => void,
): Promise<void> {
  let before = 0;
  for (const { name, sha256 } of files) {
    const onFile = (bytes: number) => onBytes(before + bytes);
    const { bytes } = await download(client, inFolder(url, name), { path: join(folder, name), sha256, onBytes: onFile });
    before += bytes;
  }
}

/** Servers that refuse HEAD still send files. */
async function askForSize(client: RemoteClient, url: URL): Promise<{ bytes?: number }> {
  try {
    using reply = await untilDone(client, () => client.ask(url, { method: 'HEAD' }));
    const { 'content-length': length, 'content-encoding': encoding } = reply.headers;
    return length === undefined || encoding !== undefined ? {} : { bytes: Number(length) };
  } catch (error) {
    if ((error as { code?: unknown }).code === 'WL_REMOTE_REFUSED') return {};
    throw error;
  }
}
