// Checkpoints of any layout, loaded by any other.
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { localDisk } from './disk.ts';
import type { DiskFile } from './disk.ts';
import { loadNewest } from './load.ts';
import { planSave } from './save-plan.ts';
import { contentsOf, onEveryRank, saveFrom, shardsOfRank, worldOf } from './testing.ts';
import type { TestLayout, TestTensor } from './testing.ts';
import { verifyCheckpoint } from './verify.ts';

/** Sizes that no number of ranks divides, a fused matrix, and one that is large enough to be written by all its holders. */
const shapes: Omit<TestTensor, 'group' | 'from'>[] = [
  { name: 'embedding', shape: [83, 24] },
  { name: 'blocks.0.qkv', shape: [48, 17], fused: 3 },
  { name: 'blocks.0.norm', shape: [17] },
  { name: 'blocks.0.down', shape: [19, 21] },
  { name: 'blocks.1.stack', shape: [9, 8, 7] },
  { name: 'blocks.1.up', shape: [160, 128] },
  { name: 'norm', shape: [17] },
  { name: 'scale', shape: [] },
];
const tensors: TestTensor[] = (['weights', 'first', 'second'] as const).flatMap((group, of) =>
  shapes.map((shape, index) => ({ ...shape, group, from: of * 1e6 + index * 1e4 })),
);

const layouts: Record<string, TestLayout> = {
  'one rank': {},
  'tensor 2 by rows': { tensor: 2 },
  'tensor 4 by columns': { tensor: 4, dim: 1 },
  'tensor 8 by rows': { tensor: 8 },
  'tensor 8 by columns': { tensor: 8, dim: 1 },
  'shards 2': { shards: 2 },
  'shards 3 of moments': { shards: 3, zero: 1 },
  'shards 8': { shards: 8 },
  'replicas 3': { replicas: 3 },
  'pipeline 2, tied': { pipeline: 2, tied: true },
  'pipeline 4': { pipeline: 4 },
  'shards 2, tensor 2 by columns': { shards: 2, tensor: 2, dim: 1 },
  'replicas 2, shards 2, tensor 2': { replicas: 2, shards: 2, tensor: 2 },
  'pipeline 2, tied, replicas 2, tensor 2': { pipeline: 2, tied: true, replicas: 2, tensor: 2 },
};

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'wl-layouts-'));
  for (const [name, layout] of Object.entries(layouts)) await saveFrom(join(root, name), tensors, layout, 12);
});
afterAll(() => rm(root, { recursive: true }));

const noDamage = (error: Error) => {
  throw error;
};

describe.each(Object.entries(layouts))('a checkpoint of %s', (name, saved) => {
  it.each(Object.entries(layouts))('gives every rank of %s its values and the state', async (_, layout) => {
    await onEveryRank(layout, async (rank, exchange) => {
      const shards = shardsOfRank(tensors, layout, rank, true);
      const state = await loadNewest(join(root, name), 'c0ffee', shards, { exchange, onDamaged: noDamage });
      expect(state).toEqual(contentsOf(tensors, 12).state);
      expect(shards).toEqual(shardsOfRank(tensors, layout, rank));
    });
  });

  it('holds every element once', async () => {
    const path = join(root, name, 'step-00000012');
    const { files, layout } = await verifyCheckpoint(path);
    const elements = tensors.reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0);
    const data = Object.values(files).reduce((sum, { bytes, headerBytes }) => sum + bytes - headerBytes, 0);
    expect(data).toBe(elements * 4);
    expect(layout).toEqual({ worldSize: worldOf(saved) });
    expect((await readdir(path)).sort()).toEqual(['manifest.json', ...Object.keys(files)]);
    for (const [file, { bytes }] of Object.entries(files)) expect((await stat(join(path, file))).size).toBe(bytes);
  });
});

it.each(['shards 8', 'tensor 8 by columns', 'pipeline 4'])('a rank of %s reads its own bytes and no others', async (name) => {
  const layout = layouts[name]!;
  await onEveryRank(layout, async (rank, exchange) => {
    let read = 0;
    const open = async (path: string): Promise<DiskFile> => {
      const file = await localDisk.open(path);
      const counted = async (into: Uint8Array, position: number) => {
        read += position > 0 ? into.length : 0;
        return await file.read(into, position);
      };
      return { ...file, read: counted };
    };
    const shards = shardsOfRank(tensors, layout, rank, true);
    const disk = { ...localDisk, open };
    await loadNewest(join(root, name), 'c0ffee', shards, { exchange, disk, onDamaged: noDamage });
    const held = shards.flatMap(({ ranges }) => ranges.map(({ tensor }) => tensor.size * 4));
    expect(read).toBe(held.reduce((sum, bytes) => sum + bytes));
  });
});

it('tells each rank how much of what it needs is read, chunk by chunk to the end', async () => {
  const layout = layouts['shards 2, tensor 2 by columns']!;
  await onEveryRank(layout, async (rank, exchange) => {
    const shares: number[] = [];
    const options = { exchange, onRead: (share: number) => shares.push(share), onDamaged: noDamage };
    await loadNewest(join(root, 'pipeline 4'), 'c0ffee', shardsOfRank(tensors, layout, rank, true), options);
    expect(shares.length).toBeGreaterThan(10);
    expect(shares).toEqual(shares.map((_, index) => (index + 1) / shares.length));
  });
});

it('spreads the bytes evenly over the replicas, each of which finds its own by itself', () => {
  const layout = { replicas: 4, tensor: 2 };
  const large = shapes.map(({ name }, index) => ({ group: 'weights' as const, name, shape: [400 + index, 96], from: 0 }));
  const bytes = Array.from({ length: 8 }, (_, rank) =>
    planSave(shardsOfRank(large, layout, rank)).reduce((sum, { begin, end }) => sum + 4 * (end - begin), 0),
  );
  const mean = bytes.reduce((sum, each) => sum + each) / bytes.length;
  for (const each of bytes) expect(Math.abs(each / mean - 1)).toBeLessThan(0.05);
});
