// Where the files of a model come from: a folder, on a claim or of the machine, or a server.
import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import { downloadFiles, RemoteClient, remoteFiles, shown, sizesOf } from '#runtime/remote/main.ts';

interface SourceFile {
  /** Path within the model, with `/`. */
  readonly name: string;
  readonly bytes: number;
}

/** One that is read from beginning to end, and whose files are held against the digest by whoever reads them. */
export interface ReadSource {
  /** For messages. */
  readonly place: string;
  files(): Promise<SourceFile[]>;
  /** The bytes of a file, from its beginning. */
  open(name: string): AsyncIterable<Uint8Array>;
}

/** One that is fetched, goes on where it was cut, and vouches for the digest itself. */
export interface FetchedSource {
  readonly place: string;
  /** Puts all files with this digest into `folder`, which may hold what an earlier try has left. */
  fetch(folder: string, digest: string, told: FetchTold): Promise<void>;
}

export interface FetchTold {
  /** How many bytes it will be, before the first of them is fetched. */
  readonly needs: (bytes: number) => Promise<void>;
  readonly has: (bytes: number, totalBytes: number) => void;
  /** Why it is tried again. */
  readonly setBack: (words: string) => void;
}

export type ModelSource = ReadSource | FetchedSource;

/** A folder on a server, with a list of its files. */
export function remoteSource(uri: string, secretDir: string | undefined): FetchedSource {
  const url = new URL(uri);
  return {
    place: shown(url),
    async fetch(folder, digest, { needs, has, setBack }) {
      using client = new RemoteClient({ secretDir, onSetback: setBack });
      const files = await sizesOf(client, url, await remoteFiles(client, url, digest, folder), folder);
      const totalBytes = files.reduce((sum, { bytes = 0 }) => sum + bytes, 0);
      await needs(totalBytes);
      await downloadFiles(client, url, files, folder, (bytes) => has(bytes, Math.max(bytes, totalBytes)));
    },
  };
}

/** All files below a folder. */
export function folderSource(folder: string): ReadSource {
  return {
    place: folder,
    async files() {
      const entries = await readdir(folder, { withFileTypes: true, recursive: true });
      const paths = entries.filter((entry) => !entry.isDirectory()).map((entry) => join(entry.parentPath, entry.name));
      return await Promise.all(
        paths.map(async (path) => ({ name: relative(folder, path).split(sep).join('/'), bytes: (await stat(path)).size })),
      );
    },
    open: (name) => createReadStream(join(folder, name), { highWaterMark: 1 << 20 }),
  };
}
