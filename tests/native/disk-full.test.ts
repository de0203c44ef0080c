// A disk that is full during a save costs nothing but that save. The disk is a small tmpfs: the test needs the right to mount one.
import { execFileSync } from 'node:child_process';
import { mkdir, open, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { localDisk } from '#runtime/checkpoint/disk.ts';
import { listCheckpoints } from '#runtime/checkpoint/folders.ts';
import { verifyCheckpoint } from '#runtime/checkpoint/verify.ts';
import { newFolder, readMetrics, runRank, startRank, tinyJob, weightsDigest } from './rank.ts';
import type { RankProcess } from './rank.ts';

let folder: string;
let disk: string;
beforeEach(async () => {
  folder = await newFolder();
  disk = join(folder, 'job');
  await mkdir(disk);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', disk]);
});
afterEach(async () => {
  execFileSync('umount', ['--lazy', disk]);
  await rm(folder, { recursive: true });
});

/** Enough for the disk to be full, and to have room again, long before the end, however late this process hears of a save. */
const steps = 600;
const job = () => tinyJob(folder, { steps, checkpoint: { everySteps: 5, keep: 2 } });
const checkpoints = () => join(disk, 'checkpoints');

/** Weights of the job on a disk with room. */
async function weightsWithRoom(): Promise<string> {
  const other = await newFolder();
  try {
    return await weightsDigest(other, await runRank(other, { ...job(), data: { ...job().data, uri: join(folder, 'data.txt') } }));
  } finally {
    await rm(other, { recursive: true });
  }
}

/** Holds the rank, takes all room that is left on its disk, and lets it go on. */
async function fillDisk(rank: RankProcess): Promise<void> {
  rank.child.kill('SIGSTOP');
  const file = await open(join(disk, 'filler'), 'w');
  const page = new Uint8Array(4096);
  const full = async (): Promise<boolean> => (await file.write(page).catch(() => ({ bytesWritten: 0 }))).bytesWritten === 0;
  while (!(await full()));
  await file.close();
  rank.child.kill('SIGCONT');
}

it('training goes on without room, the checkpoint before stays whole, and the next save works once there is room', async () => {
  const rank = startRank(folder, job());
  await rank.saves(10);
  await fillDisk(rank);
  await rank.logs('WL_DISK_FULL');
  await rank.logs('no room for the checkpoint of step');
  rank.child.kill('SIGSTOP');
  const [newest] = await listCheckpoints(checkpoints());
  expect((await verifyCheckpoint(newest!.path)).state.step).toBe(newest!.step);
  await rm(join(disk, 'filler'));
  rank.child.kill('SIGCONT');
  await rank.saves(newest!.step + 10);
  const end = await rank.ended;
  expect(end.log).toMatch(
    /no room for the checkpoint of step \d+ in \S+: \d+ bytes needed, \d+ free\. Free the number of bytes given/,
  );
  expect(await weightsDigest(folder, end)).toBe(await weightsWithRoom());
  const lines = (await readMetrics(folder)).filter((line) => 'train/loss' in line);
  expect(lines.map(({ step }) => step)).toEqual(Array.from({ length: steps }, (_, index) => index + 1));
  expect((await readdir(checkpoints())).sort()).toEqual(['step-00000595', 'step-00000600']);
});

it('a job whose last state could not be saved exits with 75 and succeeds when there is room', async () => {
  const rank = startRank(folder, job());
  await rank.saves(10);
  await fillDisk(rank);
  const end = await rank.ended;
  expect([end.code, end.failure?.code], end.log).toEqual([75, 'WL_DISK_FULL']);
  expect(end.failure?.message).toMatch(/^no room for the checkpoint of step 600 in .*: \d+ bytes needed, \d+ free$/);
  expect(end.failure?.remedy).toContain('Free the number of bytes given');
  expect(end.published).toBeUndefined();
  await rm(join(disk, 'filler'));
  expect(await weightsDigest(folder, await runRank(folder, job()))).toBe(await weightsWithRoom());
});

it('a file that was written in part because the disk filled up is an error, not a checkpoint', async () => {
  // A little more than the disk in one write: a part of it has no room.
  const file = await localDisk.create(join(disk, 'rank-00000-00000.safetensors'));
  await expect(file.write(new Uint8Array((4 << 20) + 100), 0)).rejects.toMatchObject({ code: 'ENOSPC' });
  await file.close();
});
