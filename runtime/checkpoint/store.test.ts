import { mkdir, mkdtemp, open, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { WindlassError } from '#runtime/api/errors.ts';
import { listCheckpoints, openNewest, pruneCheckpoints, readTensor, saveCheckpoint, verifyCheckpoint } from './store.ts';
import type { CheckpointContents } from './store.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'wl-checkpoint-'));
});
afterEach(() => rm(root, { recursive: true }));

const values = (count: number, from: number) => Float32Array.from({ length: count }, (_, index) => from + index / 8);

function contents(step: number): CheckpointContents {
  return {
    configDigest: 'c0ffee',
    state: { step, seed: 7, sequences: step * 4, tokens: step * 64, evaluationsSinceBest: 0 },
    groups: {
      weights: [
        { name: 'embed', shape: [5, 3], data: values(15, step) },
        { name: 'norm', shape: [3], data: values(3, -1) },
      ],
      first: [{ name: 'embed', shape: [5, 3], data: values(15, 100) }],
    },
  };
}

const noDamage = (error: WindlassError) => {
  throw error;
};

describe('checkpoint store', () => {
  it('gives back state and tensors, and any box of a tensor', async () => {
    await saveCheckpoint(root, contents(12));
    const newest = await openNewest(root, noDamage);
    expect(newest?.manifest.state).toEqual(contents(12).state);
    const embed = newest!.manifest.tensors['weights/embed']!;
    expect(await readTensor(newest!.path, 'embed', embed)).toEqual(values(15, 12));
    expect([...(await readTensor(newest!.path, 'embed', embed, { offsets: [1, 1], sizes: [2, 2] }))]).toEqual([
      12.5, 12.625, 12.875, 13,
    ]);
  });

  it('saves the same state as the same bytes', async () => {
    const read = async (path: string) =>
      Promise.all((await readdir(path)).sort().map((name) => readFile(join(path, name), 'hex')));
    const first = await read(await saveCheckpoint(root, contents(3)));
    expect(await read(await saveCheckpoint(root, contents(3)))).toEqual(first);
  });

  it('finds a flipped bit, whichever it is, in every file', async () => {
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

  it('falls back to the last good one, names the damaged file and keeps it aside', async () => {
    await saveCheckpoint(root, contents(1));
    const damaged = await saveCheckpoint(root, contents(2));
    await truncate(join(damaged, 'weights-00000.safetensors'), 20);
    const told: string[] = [];
    const newest = await openNewest(root, (error) => told.push(error.message));
    expect(newest?.manifest.state.step).toBe(1);
    expect(told).toEqual([expect.stringContaining(join(damaged, 'weights-00000.safetensors'))]);
    expect((await readdir(root)).sort()).toEqual(['damaged-step-00000002', 'step-00000001']);
  });

  it('sees nothing of a save that was cut off, and removes what it left', async () => {
    await saveCheckpoint(root, contents(1));
    await mkdir(join(root, '.saving-step-00000002-99'));
    await mkdir(join(root, '.removing-step-00000000-99'));
    await writeFile(join(root, '.saving-step-00000002-99', 'weights-00000.safetensors'), 'half');
    expect((await openNewest(root, noDamage))?.manifest.state.step).toBe(1);
    expect(await readdir(root)).toEqual(['step-00000001']);
  });

  it('treats a folder without a manifest, or with a file missing, as damaged', async () => {
    await mkdir(join(root, 'step-00000009'));
    const lacking = await saveCheckpoint(root, contents(8));
    await rm(join(lacking, 'first-00000.safetensors'));
    const told: string[] = [];
    expect(await openNewest(root, (error) => told.push(error.code))).toBeUndefined();
    expect(told).toEqual(['WL_CHECKPOINT_CORRUPT', 'WL_CHECKPOINT_CORRUPT']);
  });

  it('refuses values that nothing could be resumed from, and leaves nothing of them', async () => {
    await saveCheckpoint(root, contents(1));
    for (const value of [NaN, Infinity, -Infinity]) {
      const bad = contents(2);
      bad.groups['first']![0]!.data[7] = value;
      await expect(saveCheckpoint(root, bad)).rejects.toMatchObject({
        code: 'WL_LOSS_NOT_FINITE',
        message: 'first/embed holds NaN or infinite values; it is not saved',
      });
    }
    expect(await readdir(root)).toEqual(['step-00000001']);
  });

  it('a folder that can not be read is an error: training must not begin anew over it', async () => {
    const blocked = join(root, 'file');
    await writeFile(blocked, '');
    await expect(openNewest(blocked, noDamage)).rejects.toMatchObject({ code: 'WL_FILE_MISSING' });
    expect(await openNewest(join(root, 'nothing'), noDamage)).toBeUndefined();
  });

  it('keeps the newest ones', async () => {
    for (const step of [1, 2, 10]) await saveCheckpoint(root, contents(step));
    await pruneCheckpoints(root, 2);
    expect((await listCheckpoints(root)).map(({ step }) => step)).toEqual([10, 2]);
  });

  it('cuts large tensors into chunks that cover them', async () => {
    const shape = [2049, 8200];
    const data = new Float32Array(shape[0]! * shape[1]!);
    data[8200 * 2047 + 1] = 42;
    await saveCheckpoint(root, { ...contents(1), groups: { weights: [{ name: 'big', shape, data }] } });
    const { path, manifest } = (await openNewest(root, noDamage))!;
    const big = manifest.tensors['weights/big']!;
    expect(big.chunks.length).toBe(2);
    expect(await readTensor(path, 'big', big, { offsets: [2046, 0], sizes: [3, 2] })).toEqual(
      Float32Array.from([0, 0, 0, 42, 0, 0]),
    );
  });

  it('writes chunk files that are safetensors files', async () => {
    const path = await saveCheckpoint(root, contents(1));
    const handle = await open(join(path, 'weights-00000.safetensors'));
    const head = Buffer.alloc(8);
    await handle.read(head, 0, 8, 0);
    const json = Buffer.alloc(Number(head.readBigUInt64LE()));
    await handle.read(json, 0, json.length, 8);
    await handle.close();
    expect(JSON.parse(json.toString())).toEqual({
      'weights/embed': { dtype: 'F32', shape: [5, 3], data_offsets: [0, 60] },
      'weights/norm': { dtype: 'F32', shape: [3], data_offsets: [60, 72] },
    });
  });
});
