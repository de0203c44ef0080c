// Puts a copy of a folder on a server: each file with its checksum, and the list of them last, so that a copy with a list is whole.
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import { Readable } from 'node:stream';
import { isWindlassError } from '#runtime/api/errors.ts';
import { checksumsName, formatChecksums } from './checksums.ts';
import { refused } from './client.ts';
import type { RemoteClient } from './client.ts';
import { untilDone } from './retry.ts';
import { inFolder, shown } from './url.ts';

interface LocalFile {
  /** Path within the folder, with `/`. */
  readonly name: string;
  readonly bytes: number;
  readonly sha256: string;
  readonly open: () => NodeJS.ReadableStream;
}

/** What servers without folders answer to the wish for one, and those that have it already. */
const folderIsFine = new Set([301, 405]);

/**
 * Puts all files of `folder` below `url`. A file that is there is replaced, so that the same call may be repeated. Throws WL_REMOTE_REFUSED,
 * WL_REMOTE_UNAVAILABLE, WL_SECRET_INVALID.
 */
export async function uploadFolder(
  client: RemoteClient,
  url: URL,
  folder: string,
  onBytes: (bytes: number, totalBytes: number) => void,
): Promise<void> {
  const files = await filesOf(folder);
  const list = formatChecksums(files);
  const totalBytes = files.reduce((sum, { bytes }) => sum + bytes, 0);
  let before = 0;
  for (const file of files) {
    await put(client, url, file, (bytes) => onBytes(before + bytes, totalBytes));
    before += file.bytes;
  }
  const [bytes, sha256] = [Buffer.byteLength(list), createHash('sha256').update(list).digest('hex')];
  await put(client, url, { name: checksumsName, bytes, sha256, open: () => Readable.from([Buffer.from(list)]) }, () => {});
}

async function put(client: RemoteClient, url: URL, file: LocalFile, onBytes: (bytes: number) => void): Promise<void> {
  const at = inFolder(url, file.name);
  let most = 0;
  const once = async () => {
    let sent = 0;
    using reply = await client.ask(at, {
      method: 'PUT',
      headers: {
        'content-type': 'application/octet-stream',
        'content-length': String(file.bytes),
        // RFC 9530, and what repositories of artifacts take.
        'content-digest': `sha-256=:${Buffer.from(file.sha256, 'hex').toString('base64')}:`,
        'x-checksum-sha256': file.sha256,
      },
      body: () => {
        sent = 0;
        return file.open().on('data', (chunk: Buffer) => {
          sent += chunk.length;
          most = Math.max(most, sent);
          onBytes(sent);
        });
      },
    });
    if (reply.status >= 300) throw refused(`${shown(at)} answered PUT with ${reply.status}`);
  };
  const patiently = () => untilDone(client, once, () => most);
  try {
    await patiently();
  } catch (error) {
    // A server with real folders wants them made first.
    if (!isWindlassError(error) || error.details['status'] !== 409) throw error;
    await makeFolders(client, url, file.name);
    await patiently();
  }
}

async function makeFolders(client: RemoteClient, url: URL, name: string): Promise<void> {
  const parts = [
    ...url.pathname.split('/').filter((part) => part !== ''),
    ...name.split('/').slice(0, -1).map(encodeURIComponent),
  ];
  for (let depth = 1; depth <= parts.length; depth += 1) {
    const at = new URL(url);
    at.pathname = `/${parts.slice(0, depth).join('/')}/`;
    try {
      using reply = await untilDone(client, () => client.ask(at, { method: 'MKCOL' }));
      reply.destroy();
    } catch (error) {
      if (!isWindlassError(error)) throw error;
      const { status } = error.details;
      const isOurs = depth === parts.length;
      if (isOurs && !(typeof status === 'number' && folderIsFine.has(status))) throw error;
    }
  }
}

async function filesOf(folder: string): Promise<LocalFile[]> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true });
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const files: LocalFile[] = [];
  for (const path of paths.toSorted()) {
    const open = () => createReadStream(path, { highWaterMark: 1 << 20 });
    const hash = createHash('sha256');
    for await (const chunk of open()) hash.update(chunk as Buffer);
    const name = relative(folder, path).split(sep).join('/');
    files.push({ name, bytes: (await stat(path)).size, sha256: hash.digest('hex'), open });
  }
  return files;
}
