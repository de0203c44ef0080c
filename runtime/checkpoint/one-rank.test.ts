import { cp, mkdir, mkdtemp, open, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { WindlassError } from '#runtime/api/errors.ts';
import { folderOf, listCheckpoints, pruneCheckpoints } from './folders.ts';
import { loadNewest } from './load.ts';
import type { TrainingState } from './manifest.ts';
import { saveCheckpoint } from './save.ts';
import { ArrayMemory, contentsOf, shardsOfRank } from './testing.ts';
import type { TestTensor } from './testing.ts';
import { readTensor, verifyCheckpoint } from './verify.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'wl-checkpoint-'));
});
afterEach(() => rm(root, { recursive: true }));

const values = (count: number, from: number) => Float32Array.from({ length: count }, (_, index) => from + index / 8);

const tensorsOf = (step: number): TestTensor[] => [
  { group: 'weights', name: 'embed', shape: [5, 3], from: step },
  { group: 'weights', name: 'norm', shape: [3], from: -1 },
  { group: 'first', name: 'embed', shape: [5, 3], from: 100 },
];
const contents = (step: number) => contentsOf(tensorsOf(step), step);
const load = (onDamaged: (error: WindlassError) => void = noDamage): Promise<TrainingState | undefined> =>
  loadNewest(root, 'c0ffee', shardsOfRank(tensorsOf(0), {}, 0, true), { onDamaged });
const chunkFile = 'rank-00000-00000.safetensors';

const noDamage = (error: WindlassError) => {
  throw error;
};

describe('checkpoints of one rank', () => {
  it('give back state and tensors, and any box of a tensor', async () => {
    const path = await saveCheckpoint(root, contents(12));
    const shards = shardsOfRank(tensorsOf(12), {}, 0, true);
    const state = await loadNewest(root, 'c0ffee', shards, { onDamaged: noDamage });
    expect(state).toEqual(contents(12).state);
    const held = shards.map(({ ranges }) => (ranges[0]!.tensor as ArrayMemory).values);
    expect(held).toEqual([values(15, 12), values(3, -1), values(15, 100)]);
    expect(await readTensor(path, 'weights/embed')).toEqual(values(15, 12));
    expect([...(await readTensor(path, 'weights/embed', { offsets: [1, 1], sizes: [2, 2] }))]).toEqual([
      12.5, 12.625, 12.875, 13,
    ]);
  });

  it('save the same state as the same bytes', async () => {
    const read = async (path: string) =>
      Promise.all((await readdir(path)).sort().map((name) => readFile(join(path, name), 'hex')));
    const first = await read(await saveCheckpoint(root, contents(3)));
    expect(await read(await saveCheckpoint(root, contents(3)))).toEqual(first);
  });

  it('are found damaged by a flipped bit, whichever it is, in every file', async () => {
    const path = await saveCheckpoint(root, contents(1));
    for (const name of await readdir(path)) {
      const file = join(path, name);
      const good = await readFile(file);
      for (let bit = 0; bit < good.length * 8; bit += 11) {
        const bad = Buffer.from(good);
        bad[bit >> 3]! ^= 1 << (bit & 7);
        await writeFile(file, bad);
        await expect(verifyCheckpoint(path), `bit ${bit} of ${name}`).rejects.toMatchObject({ code: 'WL_CHECKPOINT_CORRUPT' });
      }
      await writeFile(file, good);
    }
    await verifyCheckpoint(path);
  });

  it('fall back to the last good one, name the damaged file and keep it aside', async () => {
    await saveCheckpoint(root, contents(1));
    const damaged = await saveCheckpoint(root, contents(2));
    await truncate(join(damaged, chunkFile), 20);
    const told: string[] = [];
    expect((await load((error) => told.push(error.message)))?.step).toBe(1);
    expect(told).toEqual([expect.stringContaining(join(damaged, chunkFile))]);
    expect((await readdir(root)).sort()).toEqual(['damaged-step-00000002', 'step-00000001']);
  });

  it('show nothing of a save that was cut off, and remove what it left', async () => {
    await saveCheckpoint(root, contents(1));
    await mkdir(join(root, '.saving-step-00000002-99'));
    await mkdir(join(root, '.removing-step-00000000-99'));
    await writeFile(join(root, '.saving-step-00000002-99', chunkFile), 'half');
    expect((await load())?.step).toBe(1);
    expect(await readdir(root)).toEqual(['step-00000001']);
  });

  it('are damaged without a manifest, or with a file missing', async () => {
    await mkdir(join(root, 'step-00000009'));
    const lacking = await saveCheckpoint(root, contents(8));
    await rm(join(lacking, chunkFile));
    const told: string[] = [];
    expect(await load((error) => told.push(error.message))).toBeUndefined();
    expect(told).toEqual([
      expect.stringContaining(`${join(root, folderOf(9), 'manifest.json')} is missing`),
      expect.stringContaining(`${join(lacking, chunkFile)} is missing`),
    ]);
  });

  it('refuse values that nothing could be resumed from, and leave nothing of them', async () => {
    await saveCheckpoint(root, contents(1));
    for (const value of [NaN, Infinity, -Infinity]) {
      const bad = contents(2);
      (bad.shards[2]!.ranges[0]!.tensor as ArrayMemory).values[7] = value;
      await expect(saveCheckpoint(root, bad)).rejects.toMatchObject({
        code: 'WL_LOSS_NOT_FINITE',
        message: 'first/embed holds NaN or infinite values; it is not saved',
      });
    }
    expect(await readdir(root)).toEqual(['step-00000001']);
  });

  it('that can not be looked for are an error: training must not begin anew over them', async () => {
    const blocked = join(root, 'file');
    await writeFile(blocked, '');
    const from = (folder: string) => loadNewest(folder, 'c0ffee', [], { onDamaged: noDamage });
    await expect(from(blocked)).rejects.toMatchObject({ code: 'WL_FILE_MISSING' });
    expect(await from(join(root, 'nothing'))).toBeUndefined();
  });

  it('are kept if they are the newest', async () => {
    for (const step of [1, 2, 10]) await saveCheckpoint(root, contents(step));
    await pruneCheckpoints(root, 2);
    expect((await listCheckpoints(root)).map(({ step }) => step)).toEqual([10, 2]);
  });

  it('hold large tensors as chunks that cover them', async () => {
    const shape = [2049, 1025];
    const data = new Float32Array(shape[0]! * shape[1]!);
    data[1025 * 2047 + 1] = 42;
    const range = { tensor: new ArrayMemory(data), box: { offsets: [0, 0], sizes: shape }, begin: 0, end: data.length };
    const shards = [{ group: 'weights' as const, name: 'big', shape, ranges: [{ ...range, replica: 0, replicas: 1 }] }];
    const path = await saveCheckpoint(root, contentsOf([], 1, shards));
    expect((await verifyCheckpoint(path)).tensors['weights/big']!.chunks.length).toBe(3);
    expect(await readTensor(path, 'weights/big', { offsets: [2046, 0], sizes: [3, 2] })).toEqual(
      Float32Array.from([0, 0, 0, 42, 0, 0]),
    );
  });

  it('of the version before, one file for each group and one rank, are loaded', async () => {
    await cp(join(import.meta.dirname, '../../tests/fixtures/checkpoint-v1'), root, { recursive: true });
    const tensors: TestTensor[] = [
      { group: 'weights', name: 'embed', shape: [5, 3], from: 12 },
      { group: 'weights', name: 'norm', shape: [3], from: -1 },
      { group: 'first', name: 'embed', shape: [5, 3], from: 100 },
      { group: 'first', name: 'norm', shape: [3], from: 200 },
      { group: 'second', name: 'embed', shape: [5, 3], from: 300 },
      { group: 'second', name: 'norm', shape: [3], from: 400 },
    ];
    const shards = shardsOfRank(tensors, {}, 0, true);
    const state = await loadNewest(root, 'c0ffee', shards, { onDamaged: noDamage });
    expect(state).toEqual({ ...contents(12).state, lastLoss: 2.5 });
    expect(shards).toEqual(shardsOfRank(tensors, {}, 0));
  });

  it('have chunk files that are safetensors files', async () => {
    const path = await saveCheckpoint(root, contents(1));
    const handle = await open(join(path, chunkFile));
    const head = Buffer.alloc(8);
    await handle.read(head, 0, 8, 0);
    const json = Buffer.alloc(Number(head.readBigUInt64LE()));
    await handle.read(json, 0, json.length, 8);
    await handle.close();
    expect(JSON.parse(json.toString())).toEqual({
      'weights/embed': { dtype: 'F32', shape: [5, 3], data_offsets: [0, 60] },
      'weights/norm': { dtype: 'F32', shape: [3], data_offsets: [60, 72] },
      'first/embed': { dtype: 'F32', shape: [5, 3], data_offsets: [72, 132] },
    });
  });
});
