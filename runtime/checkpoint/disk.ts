// The calls of the file system that checkpoints are made of. Tests put a disk of their own in its place, which is full, slow or cut off.
import { mkdir, open, readdir, rename, rm, statfs } from 'node:fs/promises';

export interface DiskFile {
  /** Writes all of it from `position` on. */
  write(bytes: Uint8Array, position: number): Promise<void>;
  /** Fills `into` from `position` on as far as the file goes. Returns the number of bytes. */
  read(into: Uint8Array, position: number): Promise<number>;
  size(): Promise<number>;
  /** Makes durable what was written. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

export interface Disk {
  create(path: string): Promise<DiskFile>;
  open(path: string): Promise<DiskFile>;
  makeFolder(path: string): Promise<void>;
  names(folder: string): Promise<string[]>;
  rename(from: string, to: string): Promise<void>;
  /** Removes a file or folder with all in it, if it is there. */
  remove(path: string): Promise<void>;
  /** Makes the names in a folder durable. */
  syncFolder(path: string): Promise<void>;
  freeBytes(folder: string): Promise<number>;
}

export const localDisk: Disk = {
  create: (path) => openFile(path, 'w'),
  open: (path) => openFile(path, 'r'),
  makeFolder: async (path) => void (await mkdir(path, { recursive: true })),
  names: (folder) => readdir(folder),
  rename: (from, to) => rename(from, to),
  remove: (path) => rm(path, { recursive: true, force: true }),
  syncFolder: async (path) => {
    await using handle = await open(path, 'r');
    await handle.sync();
  },
  freeBytes: async (folder) => {
    const { bavail, bsize } = await statfs(folder);
    return bavail * bsize;
  },
};

async function openFile(path: string, flags: 'r' | 'w'): Promise<DiskFile> {
  const handle = await open(path, flags);
  return {
    write: async (bytes, position) => {
      // A disk that fills up takes a part of what is written without an error; the next write gets it.
      for (let written = 0; written < bytes.length;) {
        written += (await handle.write(bytes, written, bytes.length - written, position + written)).bytesWritten;
      }
    },
    read: async (into, position) => {
      let filled = 0;
      while (filled < into.length) {
        const { bytesRead } = await handle.read(into, filled, into.length - filled, position + filled);
        if (bytesRead === 0) break;
        filled += bytesRead;
      }
      return filled;
    },
    size: async () => (await handle.stat()).size,
    sync: () => handle.sync(),
    close: () => handle.close(),
  };
}
