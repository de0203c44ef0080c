// Bounds what is kept of servers for the jobs of a namespace: what no job uses goes, that which was not used for longest first.
import { randomUUID } from 'node:crypto';
import { mkdir, readdir, rename, rm, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { leaseTimes, withLease } from '#runtime/remote/main.ts';
import type { LeaseTimes } from '#runtime/remote/main.ts';
import { isUsed, readMarks, removeOldMarks, useTimes } from './input-use.ts';
import type { UseTimes } from './input-use.ts';

/** Bytes of a volume. */
interface VolumeRoom {
  /** All that is kept for jobs together. What is used may exceed it. */
  readonly maxBytes: number;
  readonly freeBytes: number;
}

export interface RoomOptions {
  /** Default: `volumeRoom`. */
  readonly room?: ((folder: string) => Promise<VolumeRoom>) | undefined;
  readonly times?: (UseTimes & LeaseTimes) | undefined;
  readonly log: (fields: object, message: string) => void;
}

/** What is to come. `digest`: absent where it is not kept for others. */
export interface Wanted {
  readonly digest: string | undefined;
  readonly bytes: number;
}

/** Of the volume: the rest is for checkpoints and models. */
const keptShare = 0.5;
/** Volumes that grow by themselves say that they have petabytes. */
const mostBytes = 256 * 2 ** 30;
/** What was moved aside to be removed and still is there after this time was left by a kill. */
const abandonedMs = 600_000;

async function volumeRoom(folder: string): Promise<VolumeRoom> {
  const { blocks, bavail, bsize } = await statfs(folder);
  return { maxBytes: Math.min(mostBytes, Math.floor(keptShare * blocks * bsize)), freeBytes: bavail * bsize };
}

/** The lock of whoever fetches or removes what has this digest. */
export const lockOf = (shared: string, digest: string): string => join(shared, 'locks', digest);

/**
 * Removes what no job uses until the wanted fits in, if it can: who has marked what he uses, and then takes the lock and finds it, keeps it. What is
 * removed is gone for everybody at once. Trouble with removing is none of the job that fetches.
 */
export async function makeRoom(shared: string, wanted: Wanted, options: RoomOptions): Promise<void> {
  const { room = volumeRoom, log, times = { ...useTimes, ...leaseTimes } } = options;
  await mkdir(shared, { recursive: true });
  const { now, marks } = await readMarks(shared);
  await removeAbandoned(shared, now);
  const kept = await keptIn(shared);
  await removeOldMarks(shared, new Set(kept.map(({ digest }) => digest)), now, times);
  const { maxBytes, freeBytes } = await room(shared);
  const there = kept.find(({ digest }) => digest === wanted.digest)?.bytes ?? 0;
  const missing = Math.max(0, wanted.bytes - there);
  const held = kept.reduce((sum, { bytes }) => sum + bytes, 0);
  let excess = Math.max(held + (wanted.digest === undefined ? 0 : missing) - maxBytes, missing - freeBytes);
  const aged = kept.map((one) => ({ ...one, usedAt: marks.get(one.digest)?.usedAt ?? one.changedAt }));
  for (const { digest, bytes } of aged.toSorted((a, b) => a.usedAt - b.usedAt)) {
    if (excess <= 0) return;
    if (digest === wanted.digest || isUsed(marks.get(digest), now, times)) continue;
    try {
      if (!(await remove(shared, digest, times))) continue;
      excess -= bytes;
      log({ digest: `sha256:${digest}`, bytes }, 'removed what no job uses any more');
    } catch (error) {
      log({ digest: `sha256:${digest}`, cause: String(error) }, 'could not remove what no job uses any more');
    }
  }
}

interface Kept {
  readonly digest: string;
  readonly bytes: number;
  readonly changedAt: number;
}

/** What there is, whole or begun. */
async function keptIn(shared: string): Promise<Kept[]> {
  const kept = new Map<string, Kept>();
  for (const { name, digest } of await namesIn(shared)) {
    const size = await sizeOf(join(shared, name));
    const { bytes, changedAt } = kept.get(digest) ?? { bytes: 0, changedAt: 0 };
    kept.set(digest, { digest, bytes: bytes + size.bytes, changedAt: Math.max(changedAt, size.changedAt) });
  }
  return [...kept.values()];
}

/** A digest may have a folder, its list, and a list that is still coming. */
async function namesIn(shared: string): Promise<{ name: string; digest: string }[]> {
  const names = await readdir(shared);
  return names
    .filter((name) => /^[0-9a-f]{64}(\.|$)/.test(name))
    .toSorted()
    .map((name) => ({ name, digest: name.slice(0, 64) }));
}

/** Something may go while it is looked at. */
async function sizeOf(path: string): Promise<{ bytes: number; changedAt: number }> {
  const entry = await stat(path).catch(() => undefined);
  if (!entry?.isDirectory()) return { bytes: entry?.size ?? 0, changedAt: entry?.mtimeMs ?? 0 };
  let bytes = 0;
  for (const inner of await readdir(path, { withFileTypes: true, recursive: true }).catch(() => [])) {
    if (inner.isFile()) bytes += (await stat(join(inner.parentPath, inner.name)).catch(() => undefined))?.size ?? 0;
  }
  return { bytes, changedAt: entry.mtimeMs };
}

/** Whether it is gone. Whoever holds the lock of what has no mark removes it, or is dead: the wait is short. */
async function remove(shared: string, digest: string, times: UseTimes & LeaseTimes): Promise<boolean> {
  const look = async () => {
    const { now, marks } = await readMarks(shared);
    return { now, marks: marks.get(digest), isFree: !isUsed(marks.get(digest), now, times) };
  };
  const aside = await withLease(
    lockOf(shared, digest),
    times,
    () => {},
    async () => {
      const { now, marks, isFree } = await look();
      if (!isFree) return undefined;
      const folder = join(shared, 'gone', `${Math.floor(now)}-${randomUUID()}`);
      await mkdir(folder, { recursive: true });
      const moved = (await namesIn(shared)).filter((one) => one.digest === digest).map(({ name }) => name);
      for (const name of moved) await move(join(shared, name), join(folder, name));
      // A process that was stopped for long may have lost the lock to one that has found its data here.
      if (!(await look()).isFree) {
        for (const name of moved) await move(join(folder, name), join(shared, name));
        await rm(folder, { recursive: true, force: true });
        return undefined;
      }
      for (const path of marks?.names ?? []) await rm(path, { force: true });
      return folder;
    },
  );
  if (aside === undefined) return false;
  await rm(aside, { recursive: true, force: true });
  return true;
}

/** What another has taken, or put there anew, is right as it is. */
async function move(from: string, to: string): Promise<void> {
  await rename(from, to).catch((error: NodeJS.ErrnoException) => {
    if (!['ENOENT', 'ENOTEMPTY', 'EEXIST'].includes(error.code ?? '')) throw error;
  });
}

async function removeAbandoned(shared: string, now: number): Promise<void> {
  for (const name of await readdir(join(shared, 'gone')).catch(() => [])) {
    const isOld = now - Number.parseInt(name, 10) > abandonedMs;
    if (isOld) await rm(join(shared, 'gone', name), { recursive: true, force: true }).catch(() => {});
  }
}
