// What can go wrong before ranks load together: damage is named by its file, and no rank takes another checkpoint than the rest.
import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { toWindlassError } from '#runtime/api/errors.ts';
import type { WindlassError } from '#runtime/api/errors.ts';
import { localDisk } from './disk.ts';
import { loadNewest } from './load.ts';
import type { Shard } from './shard.ts';
import { onEveryRank, saveFrom, shardsOfRank } from './testing.ts';
import type { ArrayMemory, TestTensor } from './testing.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'wl-faults-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

const layout = { shards: 2, tensor: 2 };
const tensorsOf = (step: number): TestTensor[] => [
  { group: 'weights', name: 'embedding', shape: [30, 16], from: step },
  { group: 'weights', name: 'norm', shape: [16], from: -step },
  { group: 'first', name: 'embedding', shape: [30, 16], from: 1000 * step },
];
const save = (step: number) => saveFrom(root, tensorsOf(step), layout, step);

const valuesOf = (shards: readonly Shard[]) =>
  shards.flatMap(({ ranges }) => ranges.flatMap(({ tensor }) => [...(tensor as ArrayMemory).values]));

/** Loads on every rank; checks that all hold the values of the step that all say. */
async function loadEverywhere(): Promise<{ step: number | undefined; told: string[] }> {
  const told: string[] = [];
  const steps = await onEveryRank(layout, async (rank, exchange) => {
    const shards = shardsOfRank(tensorsOf(0), layout, rank, true);
    const onDamaged = (error: WindlassError) => void (rank === 0 && told.push(error.message.replaceAll(root, 'DIR')));
    const state = await loadNewest(root, 'c0ffee', shards, { exchange, onDamaged });
    if (state) expect(shards).toEqual(shardsOfRank(tensorsOf(state.step), layout, rank));
    else expect(valuesOf(shards).every((value) => value === 0)).toBe(true);
    return state?.step;
  });
  expect(new Set(steps).size, 'ranks with another step than the rest').toBe(1);
  return { step: steps[0], told };
}

describe('a checkpoint that was damaged after it was saved is set aside by all ranks, by the name of the file', () => {
  const chunkFile = (rank: number) => `rank-0000${rank}-00000.safetensors`;

  it('a bit in what only one rank reads', async () => {
    await save(1);
    const path = await save(2);
    const file = join(path, chunkFile(3));
    const bytes = await readFile(file);
    bytes[bytes.length - 3]! ^= 16;
    await writeFile(file, bytes);
    const { step, told } = await loadEverywhere();
    expect(step).toBe(1);
    expect(told).toEqual([
      expect.stringMatching(
        /^rank \d: DIR\/step-00000002\/rank-00003-00000\.safetensors is damaged: bytes \d+ to \d+ differ from what was saved; set aside as DIR\/damaged-step-00000002$/,
      ),
    ]);
  });

  it('every bit of a sample, in each kind of file', async () => {
    await save(1);
    const path = await save(2);
    for (const name of await readdir(path)) {
      const file = join(path, name);
      const good = await readFile(file);
      for (let bit = 5; bit < good.length * 8; bit += Math.ceil((good.length * 8) / 23)) {
        const bad = Buffer.from(good);
        bad[bit >> 3]! ^= 1 << (bit & 7);
        await writeFile(file, bad);
        const { step, told } = await loadEverywhere();
        expect([step, told.length], `bit ${bit} of ${name}`).toEqual([1, 1]);
        expect(told[0]).toContain(name);
        await rm(join(root, 'step-00000002'), { recursive: true, force: true });
        await localDisk.rename(join(root, 'damaged-step-00000002'), path);
      }
      await writeFile(file, good);
    }
    expect((await loadEverywhere()).step).toBe(2);
  });

  const damages: Record<string, (path: string, older: string) => Promise<unknown>> = {
    'files of two ranks swapped': async (path) => {
      await localDisk.rename(join(path, chunkFile(1)), join(path, 'spare'));
      await localDisk.rename(join(path, chunkFile(2)), join(path, chunkFile(1)));
      await localDisk.rename(join(path, 'spare'), join(path, chunkFile(2)));
    },
    'a file of the checkpoint before in place of its own': async (path, older) =>
      writeFile(join(path, chunkFile(1)), await readFile(join(older, chunkFile(1)))),
    'a truncated file': (path) => truncate(join(path, chunkFile(1)), 300),
    'a file with more at its end': async (path) =>
      writeFile(join(path, chunkFile(1)), Buffer.concat([await readFile(join(path, chunkFile(1))), Buffer.alloc(4)])),
    'a missing file': (path) => rm(join(path, chunkFile(1))),
    'a missing manifest': (path) => rm(join(path, 'manifest.json')),
    'the manifest of the checkpoint before': async (path, older) =>
      writeFile(join(path, 'manifest.json'), await readFile(join(older, 'manifest.json'))),
  };
  it.each(Object.entries(damages))('%s', async (_, damage) => {
    const older = await save(1);
    const path = await save(2);
    await damage(path, older);
    const { step, told } = await loadEverywhere();
    expect(step).toBe(1);
    expect(told).toEqual([expect.stringMatching(/step-00000002\/(rank-0000[12]-00000\.safetensors|manifest\.json) is /)]);
    expect((await readdir(root)).sort()).toEqual(['damaged-step-00000002', 'step-00000001']);
  });

  it('all of them: training begins anew with moments of zero', async () => {
    for (const step of [1, 2]) await rm(join(await save(step), chunkFile(0)));
    expect(await loadEverywhere()).toEqual({ step: undefined, told: [expect.any(String), expect.any(String)] });
  });
});

it('a checkpoint that one rank can not read for the moment is an error on all ranks, and stays where it is', async () => {
  await save(1);
  const failures = await onEveryRank(layout, async (rank, exchange) => {
    const disk =
      rank === 2 ? { ...localDisk, open: () => Promise.reject(Object.assign(new Error('EIO'), { code: 'EIO' })) } : localDisk;
    const onDamaged = () => expect.unreachable();
    const shards = shardsOfRank(tensorsOf(0), layout, rank, true);
    return await loadNewest(root, 'c0ffee', shards, { exchange, disk, onDamaged }).catch(toWindlassError);
  });
  expect(failures).toEqual(Array(4).fill(expect.objectContaining({ code: 'WL_IO', message: 'rank 2: EIO' })));
  expect((await loadEverywhere()).step).toBe(1);
});

it('a checkpoint of another job is refused by all ranks', async () => {
  await save(1);
  const failures = await onEveryRank(layout, (rank, exchange) =>
    loadNewest(root, 'other', shardsOfRank(tensorsOf(0), layout, rank, true), { exchange, onDamaged: () => {} }).catch(
      toWindlassError,
    ),
  );
  expect(failures).toEqual(Array(4).fill(expect.objectContaining({ code: 'WL_CHECKPOINT_MISMATCH' })));
  expect(await readdir(root)).toEqual(['step-00000001']);
});
