// The folder of a job's checkpoints: finished ones by step, newest first, and what was cut off, is damaged or no longer needed.
import { randomUUID } from 'node:crypto';
import { basename, dirname, join } from 'node:path';
import { toWindlassError } from '#runtime/api/errors.ts';
import { localDisk } from './disk.ts';
import type { Disk } from './disk.ts';

export interface CheckpointFolder {
  readonly step: number;
  readonly path: string;
}

const folderPattern = /^step-(\d{8,})$/;
/** Folders that are being written or removed; what a kill left of them is of no use. */
const passingPattern = /^\.(saving|removing)-/;
/** A checkpoint whose place another one of the same step is about to take. */
const replacedPattern = /^\.replaced-(step-\d{8,})-/;

export function folderOf(step: number): string {
  return `step-${String(step).padStart(8, '0')}`;
}

/** The step that the name of a checkpoint's folder says; undefined for another name. */
export function stepOf(path: string): number | undefined {
  const step = folderPattern.exec(basename(path))?.[1];
  return step === undefined ? undefined : Number(step);
}

/** The checkpoints below `root`, newest first. */
export async function listCheckpoints(root: string, disk: Disk = localDisk): Promise<CheckpointFolder[]> {
  const found = (await namesIn(disk, root)).flatMap((name) => {
    const step = stepOf(name);
    return step === undefined ? [] : [{ step, path: join(root, name) }];
  });
  return found.sort((a, b) => b.step - a.step);
}

/** Removes all but the newest `keep` checkpoints. */
export async function pruneCheckpoints(root: string, keep: number, disk: Disk = localDisk): Promise<void> {
  for (const { path } of (await listCheckpoints(root, disk)).slice(keep)) {
    // Gone at once for readers, whatever becomes of this process.
    const passing = join(root, `.removing-${basename(path)}-${randomUUID()}`);
    if (await moveAway(disk, path, passing)) await disk.remove(passing);
  }
}

/** Gives the finished folder `temporary` its name. A checkpoint of the same step goes; a kill in between leaves one of them. */
export async function putInPlace(disk: Disk, temporary: string, path: string): Promise<void> {
  const replaced = join(dirname(path), `.replaced-${basename(path)}-${randomUUID()}`);
  const isThere = await moveAway(disk, path, replaced);
  await disk.rename(temporary, path);
  await disk.syncFolder(dirname(path));
  if (isThere) await disk.remove(replaced);
}

/** Removes what saves and removals that were cut off have left. */
export async function removeLeftovers(disk: Disk, root: string): Promise<void> {
  const names = await namesIn(disk, root);
  for (const name of names) {
    const replaced = replacedPattern.exec(name)?.[1];
    if (replaced !== undefined && !names.includes(replaced)) await disk.rename(join(root, name), join(root, replaced));
    else if (replaced !== undefined || passingPattern.test(name)) await disk.remove(join(root, name));
  }
}

/** Keeps a damaged checkpoint out of the way, for whoever wants to look at it. Returns where. */
export async function setAside(disk: Disk, path: string): Promise<string> {
  const aside = join(dirname(path), `damaged-${basename(path)}`);
  await disk.remove(aside);
  await disk.rename(path, aside);
  return aside;
}

async function moveAway(disk: Disk, from: string, to: string): Promise<boolean> {
  return await disk.rename(from, to).then(() => true, ifMissing(false));
}

async function namesIn(disk: Disk, folder: string): Promise<string[]> {
  return await disk.names(folder).catch(ifMissing([]));
}

/** What stands for a file that is not there; any other trouble with it is thrown. */
function ifMissing<T>(value: T): (error: unknown) => T {
  return (error) => {
    if (isMissing(error)) return value;
    throw toWindlassError(error);
  };
}

export function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
