// Where the files of a model come from: a folder, on a claim or of the machine. Whatever else has files has the same three things.
import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';

interface SourceFile {
  /** Path within the model, with `/`. */
  readonly name: string;
  readonly bytes: number;
}

export interface ModelSource {
  /** For messages. */
  readonly place: string;
  files(): Promise<SourceFile[]>;
  /** The bytes of a file, from its beginning. */
  open(name: string): AsyncIterable<Uint8Array>;
}

/** All files below a folder. */
export function folderSource(folder: string): ModelSource {
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
