// A disk whose power is cut after a number of calls, for tests: what was not made durable is lost, and nothing that comes later happens.
import { truncate } from 'node:fs/promises';
import { localDisk } from './disk.ts';
import type { Disk, DiskFile } from './disk.ts';

export interface CutDisk extends Disk {
  /** Calls that changed the disk or would have. */
  readonly calls: number;
  readonly isCut: boolean;
  /** Takes away what was written and not made durable. To be called when all work on the disk has ended. */
  lose(): Promise<void>;
}

/** `cutAt`: the call, from 0, that does not happen, or by half: a write of which one half arrived. Infinity: never. */
export function cutDisk(cutAt: number): CutDisk {
  let calls = 0;
  /** Durable bytes of files that were written to. */
  const durable = new Map<string, number>();
  const call = async <T>(work: () => Promise<T>, half?: () => Promise<unknown>): Promise<T> => {
    const number = calls;
    calls += 1;
    if (number === Math.floor(cutAt) && cutAt % 1 !== 0) await half?.();
    if (number >= cutAt - 0.5) throw new Error('the power was cut');
    return await work();
  };
  const wrap = (file: DiskFile, path: string): DiskFile => {
    let [written, open] = [0, true];
    const write = async (bytes: Uint8Array, position: number) => {
      if (!open) throw new Error('written after it was closed');
      await file.write(bytes, position);
      written = Math.max(written, position + bytes.length);
    };
    return {
      ...file,
      write: (bytes, position) =>
        call(
          () => write(bytes, position),
          () => write(bytes.subarray(0, bytes.length >> 1), position),
        ),
      sync: () =>
        call(async () => {
          await file.sync();
          durable.set(path, written);
        }),
      close: async () => {
        open = false;
        await file.close();
      },
    };
  };
  return {
    get calls() {
      return calls;
    },
    get isCut() {
      return calls > cutAt;
    },
    lose: async () => {
      for (const [path, bytes] of durable) await truncate(path, bytes).catch(() => {});
    },
    create: (path) =>
      call(async () => {
        durable.set(path, 0);
        return wrap(await localDisk.create(path), path);
      }),
    open: (path) => localDisk.open(path),
    names: (folder) => localDisk.names(folder),
    freeBytes: (folder) => localDisk.freeBytes(folder),
    checksum: (values) => localDisk.checksum(values),
    makeFolder: (path) => call(() => localDisk.makeFolder(path)),
    rename: (from, to) =>
      call(async () => {
        await localDisk.rename(from, to);
        for (const [path, bytes] of durable) {
          if (!path.startsWith(`${from}/`)) continue;
          durable.set(to + path.slice(from.length), bytes);
          durable.delete(path);
        }
      }),
    remove: (path) => call(() => localDisk.remove(path)),
    syncFolder: (path) => call(() => localDisk.syncFolder(path)),
  };
}
