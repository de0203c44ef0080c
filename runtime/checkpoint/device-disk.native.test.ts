// Checkpoints that go straight between files and tensors: the same values, and the same damage found, as by way of JavaScript.
import { mkdtemp, open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { WindlassError } from '#runtime/api/errors.ts';
import { digest, FileLanes, liveTensorCount, openDevice, unscoped, zeros } from '#runtime/tensor/main.ts';
import type { Device, Tensor } from '#runtime/tensor/main.ts';
import { openDeviceDisk } from './device-disk.ts';
import { loadNewest } from './load.ts';
import { saveCheckpoint } from './save.ts';
import type { Shard } from './shard.ts';
import { contentsOf, onEveryRank, saveFrom, shardsOfRank } from './testing.ts';
import type { ArrayMemory, TestLayout, TestTensor } from './testing.ts';

let root: string;
let device: Device;
let disk: ReturnType<typeof openDeviceDisk>;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'wl-device-disk-'));
  device = openDevice();
  disk = openDeviceDisk();
});
afterEach(async () => {
  disk[Symbol.dispose]();
  device.close();
  await rm(root, { recursive: true });
  expect(liveTensorCount()).toBe(0);
});

const small: TestTensor[] = [
  { group: 'weights', name: 'embedding', shape: [83, 24], from: 1 },
  { group: 'weights', name: 'qkv', shape: [48, 17], from: 1e4, fused: 3 },
  { group: 'weights', name: 'scale', shape: [], from: 2e4 },
];
/** Saved in two chunks, one of them larger than what is read and summed at a time. */
const large: TestTensor[] = [...small, { group: 'first', name: 'up', shape: [1100, 1024], from: 3e4 }];

/** What a rank holds, in tensors of the device. */
function inTensors(
  tensors: readonly TestTensor[],
  layout: TestLayout,
  rank: number,
  isEmpty: boolean,
): { shards: Shard[]; owned: Tensor[] } {
  const owned: Tensor[] = [];
  const shards = shardsOfRank(tensors, layout, rank, isEmpty).map((shard) => ({
    ...shard,
    ranges: shard.ranges.map((range) => {
      const { values } = range.tensor as ArrayMemory;
      const tensor = unscoped(() => zeros(device, [values.length]));
      tensor.write(values);
      owned.push(tensor);
      return { ...range, tensor };
    }),
  }));
  return { shards, owned };
}

async function valuesOf(shards: readonly Shard[]): Promise<Float32Array[]> {
  const ranges = shards.flatMap((shard) => shard.ranges);
  return await Promise.all(ranges.map(({ tensor }) => tensor.read(new Float32Array(tensor.size), 0)));
}

const noDamage = (error: Error) => {
  throw error;
};

const layouts: Record<string, TestLayout> = {
  'one rank': {},
  'shards 3': { shards: 3 },
  'tensor 2 by columns': { tensor: 2, dim: 1 },
  'shards 2, tensor 2': { shards: 2, tensor: 2 },
};

describe.each(Object.entries(layouts))('a checkpoint saved from tensors of %s', (_, saved) => {
  it.each(Object.entries(layouts))('is loaded into tensors of %s', async (_, layout) => {
    await onEveryRank(saved, async (rank, exchange) => {
      const { shards, owned } = inTensors(small, saved, rank, false);
      await saveCheckpoint(root, contentsOf([], 3, shards), { exchange, disk });
      for (const tensor of owned) tensor.dispose();
    });
    await onEveryRank(layout, async (rank, exchange) => {
      const { shards, owned } = inTensors(small, layout, rank, true);
      await loadNewest(root, 'c0ffee', shards, { exchange, disk, onDamaged: noDamage });
      const expected = shardsOfRank(small, layout, rank).flatMap(({ ranges }) => ranges);
      expect(await valuesOf(shards)).toEqual(expected.map(({ tensor }) => (tensor as ArrayMemory).values));
      for (const tensor of owned) tensor.dispose();
    });
  });
});

it('a flipped bit is found on the way into a tensor, wherever it is', async () => {
  const path = await saveFrom(root, large, {}, 3);
  const { shards, owned } = inTensors(large, {}, 0, true);
  const [name = ''] = (await readdir(path)).filter((file) => file.endsWith('.safetensors'));
  const good = await readFile(join(path, name));
  for (let bit = 7; bit < good.length * 8; bit += Math.ceil((good.length * 8) / 13)) {
    const bad = Buffer.from(good);
    bad[bit >> 3]! ^= 1 << (bit & 7);
    await writeFile(join(path, name), bad);
    const told: string[] = [];
    const onDamaged = (error: WindlassError) => void told.push(error.message);
    expect(await loadNewest(root, 'c0ffee', shards, { disk, onDamaged })).toBe(undefined);
    expect(told, `bit ${bit}`).toEqual([expect.stringContaining(`${name} is damaged: `)]);
    expect((await valuesOf(shards)).map((values) => values.findIndex((value) => value !== 0))).toEqual([-1, -1, -1, -1]);
    await disk.rename(join(root, 'damaged-step-00000003'), path);
  }
  await writeFile(join(path, name), good);
  expect((await loadNewest(root, 'c0ffee', shards, { disk, onDamaged: noDamage }))?.step).toBe(3);
  for (const tensor of owned) tensor.dispose();
});

it.each([NaN, Infinity, -Infinity])('%d in a tensor is not saved, wherever it is', async (value) => {
  const { shards, owned } = inTensors(large, {}, 0, false);
  const last = owned.at(-1)!;
  for (const at of [0, 1 << 20, last.size - 1]) {
    last.write(Float32Array.of(value), at);
    await expect(saveCheckpoint(root, contentsOf([], 3, shards), { disk })).rejects.toThrow(
      'first/up holds NaN or infinite values',
    );
    last.write(Float32Array.of(-0), at);
  }
  await saveCheckpoint(root, contentsOf([], 3, shards), { disk });
  expect(await readdir(root)).toEqual(['step-00000003']);
  for (const tensor of owned) tensor.dispose();
});

describe('a lane', () => {
  const file = () => join(root, 'file');

  it('reads after what the device was given before, and says what it read', async () => {
    using lanes = new FileLanes(2);
    using tensor = unscoped(() => zeros(device, [1 << 18]));
    const bytes = Float32Array.from({ length: 1 << 17 }, (_, at) => at);
    await writeFile(file(), bytes);
    await using handle = await open(file());
    for (let round = 0; round < 20; round += 1) {
      tensor.write(new Float32Array(1 << 18).fill(round));
      const sum = await lanes.read(handle.fd, 0, tensor, 5, bytes.length);
      expect(sum).toBe(crc32(new Uint8Array(bytes.buffer)));
      const values = await tensor.read();
      expect([values[4], values[5], values[9], values[4 + bytes.length], values[5 + bytes.length]]).toEqual([
        round,
        0,
        4,
        bytes.length - 1,
        round,
      ]);
    }
  });

  it('says so where the file ends before', async () => {
    using lanes = new FileLanes(1);
    using tensor = unscoped(() => zeros(device, [8]));
    await writeFile(file(), Float32Array.of(1, 2, 3));
    await using handle = await open(file());
    expect(await lanes.read(handle.fd, 0, tensor, 0, 4)).toBe(undefined);
    expect(await lanes.read(handle.fd, 0, tensor, 0, 3)).toEqual(expect.any(Number));
  });

  it('that could not read one file reads the next', async () => {
    using lanes = new FileLanes(1);
    using tensor = unscoped(() => zeros(device, [2]));
    await writeFile(file(), Float32Array.of(1, 2));
    await using folder = await open(root);
    await using handle = await open(file());
    await expect(lanes.read(folder.fd, 0, tensor, 0, 2)).rejects.toMatchObject({
      code: 'WL_IO',
      message: 'read_file: 8 bytes at 0: Is a directory',
    });
    await lanes.read(handle.fd, 0, tensor, 0, 2);
    expect(await tensor.read()).toEqual(Float32Array.of(1, 2));
  });
});

it('the digest of tensors differs for every bit of a sample, and does not depend on where the memory is', async () => {
  const values = Float32Array.from({ length: (1 << 19) + 3 }, (_, at) => Math.sin(at));
  const tensorWith = (data: Float32Array) => {
    const tensor = unscoped(() => zeros(device, [data.length]));
    tensor.write(data);
    return tensor;
  };
  using one = tensorWith(values);
  using other = tensorWith(values);
  const sum = await digest([one, other]);
  expect(await digest([other, one])).toBe(sum);
  const bits = new Uint32Array(values.buffer);
  for (let bit = 3; bit < bits.length * 32; bit += 524_287) {
    bits[bit >> 5]! ^= 1 << (bit & 31);
    other.write(values);
    expect(await digest([one, other]), `bit ${bit}`).not.toBe(sum);
    bits[bit >> 5]! ^= 1 << (bit & 31);
  }
  other.write(values);
  expect(await digest([one, other])).toBe(sum);
});
