// The calls of the file system that checkpoints are made of. Tests put a disk of their own in its place, which is full, slow or cut off.
import { mkdir, open, readdir, rename, rm, statfs } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import type { ShardMemory } from './shard.ts';

/** Elements from `offset` of memory. */
export interface Place {
  readonly memory: Pick<ShardMemory, 'write'>;
  readonly offset: number;
  readonly elements: number;
}

/** CRC-32 of what was read; undefined where the file ends before. */
type Checksum = number | undefined;

export interface DiskFile {
  /** Writes all of it from `position` on. */
  write(bytes: Uint8Array, position: number): Promise<void>;
  /** Fills `into` with the bytes from `position` on. */
  read(into: Uint8Array, position: number): Promise<Checksum>;
  /** Fills the place without a copy in between; absent, or undefined, where that can't be done. */
  readonly readInto?: (place: Place, position: number) => Promise<Checksum> | undefined;
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
  /** CRC-32 of values that are to be written; undefined where one is NaN or infinite. */
  checksum(values: Float32Array): Promise<number | undefined>;
}

export const localDisk: Disk = {
  create: async (path) => fileOf(await open(path, 'w')),
  open: async (path) => fileOf(await open(path, 'r')),
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
  checksum: async (values) => (values.every((value) => Number.isFinite(value)) ? crc32(bytesOf(values)) : undefined),
};

/** An open file, through the calls of Node. `sum` makes the CRC-32 of what was read. */
export function fileOf(handle: FileHandle, sum: (bytes: Uint8Array) => number | Promise<number> = crc32): DiskFile {
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
      return filled < into.length ? undefined : await sum(into);
    },
    size: async () => (await handle.stat()).size,
    sync: () => handle.sync(),
    close: () => handle.close(),
  };
}

export function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}
