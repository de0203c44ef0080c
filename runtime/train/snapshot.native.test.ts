// Checkpoints of tensors of the compute core, taken while training goes on.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { wholeBox } from '#runtime/checkpoint/box.ts';
import { listCheckpoints } from '#runtime/checkpoint/folders.ts';
import type { Shard } from '#runtime/checkpoint/shard.ts';
import { readTensor, verifyCheckpoint } from '#runtime/checkpoint/verify.ts';
import { fill, openDevice, unscoped, zeros } from '#runtime/tensor/main.ts';
import type { Device, Tensor } from '#runtime/tensor/main.ts';
import { Checkpointer } from './snapshot.ts';

let folder: string;
let device: Device;
let tensors: Tensor[];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wl-snapshot-'));
  device = openDevice();
  tensors = unscoped(() => [3, 500, 70].map((rows) => zeros(device, [rows, 96])));
});
afterEach(async () => {
  for (const tensor of tensors) tensor.dispose();
  device.close();
  await rm(folder, { recursive: true });
});

const fail = (error: Error) => {
  throw error;
};
const stateAt = (step: number) => ({ step, seed: 0, sequences: step, tokens: step, evaluationsSinceBest: 0 });

function checkpointerOf(stagingBytes: number): Checkpointer {
  const shards: Shard[] = tensors.map((tensor, index) => ({
    group: 'weights',
    name: `t${index}`,
    shape: tensor.shape,
    ranges: [{ tensor, box: wholeBox(tensor.shape), begin: 0, end: tensor.size, replica: 0, replicas: 1 }],
  }));
  return new Checkpointer(shards, { jobDir: folder, keep: 9, configDigest: '', stagingBytes, onSaved: () => {}, onFailed: fail });
}

it.each([
  ['room for all', Infinity],
  ['less room than the largest chunk needs', 4096],
])('the steps after a save do not tear it, with %s', async (_, stagingBytes) => {
  const checkpointer = checkpointerOf(stagingBytes);
  for (let step = 1; step <= 9; step += 1) {
    for (const tensor of tensors) fill(tensor, step);
    await checkpointer.save(stateAt(step));
  }
  for (const tensor of tensors) fill(tensor, NaN);
  expect(await checkpointer.finished()).toBeUndefined();
  const saved = await listCheckpoints(join(folder, 'checkpoints'));
  expect(saved.map(({ step }) => step)).toEqual([9, 8, 7, 6, 5, 4, 3, 2, 1]);
  for (const { path, step } of saved) {
    for (const name of Object.keys((await verifyCheckpoint(path)).tensors)) {
      expect(new Set(await readTensor(path, name)), `${name} of step ${step}`).toEqual(new Set([step]));
    }
  }
});

it('restores tensors', async () => {
  const values = tensors.map((tensor, of) => Float32Array.from({ length: tensor.size }, (_, index) => of + index / 7));
  for (const [index, tensor] of tensors.entries()) tensor.write(values[index]!);
  const checkpointer = checkpointerOf(Infinity);
  await checkpointer.save(stateAt(4));
  for (const tensor of tensors) fill(tensor, NaN);
  await checkpointer.finished();
  expect(await checkpointer.restore(fail)).toEqual(stateAt(4));
  expect(await Promise.all(tensors.map((tensor) => tensor.read()))).toEqual(values);
});
