// A rank that is killed, stopped or finds its newest checkpoint damaged goes on, and ends with the weights of an unbroken run.
import { watch } from 'node:fs';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { listCheckpoints } from '#runtime/checkpoint/folders.ts';
import { newFolder, readMetrics, runRank, startRank, tinyJob, weightsDigest } from './rank.ts';
import { randomNumbers } from '../random-numbers.ts';

const [steps, kills] = [300, 20];
const jobIn = (folder: string, task: object = {}) =>
  tinyJob(folder, { family: 'gpt2', config: { dropout: 0.1 }, steps, task, checkpoint: { everySteps: 2, keep: 2 } });
const checkpointsIn = (folder: string) => join(folder, 'job/checkpoints');

const folders: string[] = [];
async function folderOfTest(): Promise<string> {
  const folder = await newFolder();
  folders.push(folder);
  return folder;
}
afterAll(async () => {
  for (const folder of folders) await rm(folder, { recursive: true });
});

let unbroken: string;
beforeAll(async () => {
  const folder = await folderOfTest();
  unbroken = await weightsDigest(folder, await runRank(folder, jobIn(folder)));
});

/** Resolves when something new of this kind stands in the folder. */
async function appears(folder: string, prefix: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  await new Promise<void>((resolve) => {
    const watcher = watch(folder, (_event, name) => {
      if (!name?.startsWith(prefix)) return;
      watcher.close();
      resolve();
    });
  });
}

it(`is killed at ${kills} random moments, also while it starts and saves, and ends as if nothing had been`, async () => {
  const folder = await folderOfTest();
  const random = randomNumbers(1);
  let cutOffSaves = 0;
  for (let kill = 0; kill < kills; kill += 1) {
    const rank = startRank(folder, jobIn(folder));
    const delay = random.next().value;
    if (kill % 5 === 0) await sleep(delay * 500);
    else {
      await rank.logs(`"msg":"${(await listCheckpoints(checkpointsIn(folder))).length > 0 ? 'resumed' : 'training starts'}"`);
      if (kill % 2 === 0) await appears(checkpointsIn(folder), '.saving-');
      else await sleep(delay * 50);
    }
    rank.child.kill('SIGKILL');
    const end = await rank.ended;
    expect(end.signal, end.log).toBe('SIGKILL');
    if ((await readdir(checkpointsIn(folder)).catch(() => [])).some((name) => name.startsWith('.saving-'))) cutOffSaves += 1;
  }
  expect(cutOffSaves, 'kills in the middle of a save').toBeGreaterThan(0);

  const end = await runRank(folder, jobIn(folder));
  expect(await weightsDigest(folder, end)).toBe(unbroken);
  const lines = (await readMetrics(folder)).filter((line) => 'train/loss' in line);
  expect(lines.map(({ step }) => step)).toEqual(Array.from({ length: steps }, (_, index) => index + 1));
  expect((await readdir(join(folder, 'job'))).sort()).toEqual(['cache', 'checkpoints', 'metrics.jsonl', 'tensorboard']);
  expect((await readdir(checkpointsIn(folder))).sort()).toEqual(['step-00000298', 'step-00000300']);
  expect(await readdir(join(folder, 'models/tiny'))).toEqual([end.published?.path.slice('tiny/'.length)]);
});

it('saves and exits with 90 on SIGTERM, and resumes bit-equal', async () => {
  const folder = await folderOfTest();
  const rank = startRank(folder, jobIn(folder));
  await rank.saves(7);
  rank.child.kill('SIGTERM');
  const end = await rank.ended;
  expect(end.code, end.log).toBe(90);
  const [newest] = await listCheckpoints(checkpointsIn(folder));
  const last = (await readMetrics(folder)).at(-1);
  expect(newest?.step, 'nothing that was computed is lost').toBe(last?.['step']);
  expect(newest?.step).toBeLessThan(steps);
  expect(await weightsDigest(folder, await runRank(folder, jobIn(folder)))).toBe(unbroken);
});

it('stops before its first step too, and loses nothing by it', async () => {
  const folder = await folderOfTest();
  const rank = startRank(folder, jobIn(folder));
  await rank.logs('"msg":"data is ready"');
  rank.child.kill('SIGTERM');
  expect((await rank.ended).code).toBe(90);
  expect(await weightsDigest(folder, await runRank(folder, jobIn(folder)))).toBe(unbroken);
});

it('falls back from a checkpoint with a flipped bit, names the file, and ends with the same weights', async () => {
  const folder = await folderOfTest();
  const rank = startRank(folder, jobIn(folder));
  await rank.saves(6);
  rank.child.kill('SIGTERM');
  await rank.ended;
  const [newest, older] = await listCheckpoints(checkpointsIn(folder));
  const file = join(newest!.path, 'rank-00000-00000.safetensors');
  const bytes = await readFile(file);
  bytes[bytes.length - 5]! ^= 4;
  await writeFile(file, bytes);
  const end = await runRank(folder, jobIn(folder));
  expect(end.log).toContain(`${file} is damaged`);
  expect(end.log).toContain('WL_CHECKPOINT_CORRUPT');
  expect(end.log).toContain(`"step":${older!.step},`);
  expect(await weightsDigest(folder, end)).toBe(unbroken);
});

it('refuses the checkpoints of another job, names them and leaves them alone', async () => {
  const folder = await folderOfTest();
  const rank = startRank(folder, jobIn(folder));
  await rank.saves(4);
  rank.child.kill('SIGTERM');
  await rank.ended;
  const before = await readdir(checkpointsIn(folder));
  const end = await runRank(folder, jobIn(folder, { seed: 9 }));
  expect([end.code, end.failure?.code]).toEqual([64, 'WL_CHECKPOINT_MISMATCH']);
  expect(end.failure?.message).toContain(checkpointsIn(folder));
  expect(await readdir(checkpointsIn(folder))).toEqual(before);
  expect(await weightsDigest(folder, await runRank(folder, jobIn(folder)))).toBe(unbroken);
});

it('ends early after the same evaluation, however often it was stopped before', async () => {
  const task = { optimizer: { learningRate: 0.3 }, evaluation: { everySteps: 2, sequences: 4, patience: 3 } };
  const [one, two] = [await folderOfTest(), await folderOfTest()];
  const whole = await runRank(one, jobIn(one, task));
  expect(whole.published?.step, whole.log).toBeLessThan(steps);
  const rank = startRank(two, jobIn(two, task));
  await rank.saves(2);
  rank.child.kill('SIGKILL');
  await rank.ended;
  const end = await runRank(two, jobIn(two, task));
  const again = await runRank(two, jobIn(two, task));
  expect(end.published?.metrics).toEqual(whole.published?.metrics);
  expect(again.published).toEqual(end.published);
  expect(await weightsDigest(two, end)).toBe(await weightsDigest(one, whole));
});
