// A pod on a node that nobody reaches may still train alone when its successor starts: they write into one folder, and neither can spoil it.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { localDisk } from './disk.ts';
import { listCheckpoints, removeLeftovers } from './folders.ts';
import { loadNewest } from './load.ts';
import { saveCheckpoint } from './save.ts';
import { contentsOf, shardsOfRank } from './testing.ts';
import type { ArrayMemory, TestTensor } from './testing.ts';
import { verifyCheckpoint } from './verify.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'wl-writers-'));
});
afterEach(() => rm(root, { recursive: true }));

/** A step has the same values whoever computes it. */
const tensorsOf = (step: number): TestTensor[] => [{ group: 'weights', name: 'embed', shape: [64, 64], from: step }];

it('two writers of one folder, one behind the other, leave whole checkpoints of steps that either has done', async () => {
  const steps = 40;
  let lastSaved = 0;
  /** Trains from a step on; what the other one takes away from it may end it, as it would end a rank. */
  const train = async (from: number): Promise<number> => {
    for (let step = from; step <= steps; step += 1) {
      const saved = await saveCheckpoint(root, contentsOf(tensorsOf(step), step), { keep: 2 }).then(
        () => true,
        () => false,
      );
      if (!saved) return step - 1;
      lastSaved = Math.max(lastSaved, step);
    }
    return steps;
  };
  /** Each start cleans up what looks cut off, and goes on from the newest. */
  const live = async (starts: number): Promise<void> => {
    for (let start = 0, done = 0; done < steps && start < starts; start += 1) {
      await removeLeftovers(localDisk, root).catch(() => {});
      const [newest] = await listCheckpoints(root);
      done = await train((newest?.step ?? 0) + 1);
    }
  };
  // The agent of the one behind has three restarts left; the successor is made again by the operator.
  await Promise.all([live(4), live(Infinity)]);
  const left = await listCheckpoints(root);
  expect(left[0]?.step).toBe(steps);
  expect(lastSaved).toBe(steps);
  for (const { path, step } of left) expect((await verifyCheckpoint(path)).state.step).toBe(step);
  const shards = shardsOfRank(tensorsOf(0), {}, 0, true);
  const onDamaged = (error: Error) => {
    throw error;
  };
  expect((await loadNewest(root, 'c0ffee', shards, { onDamaged }))?.step).toBe(steps);
  const { values } = shards[0]!.ranges[0]!.tensor as ArrayMemory;
  expect(values).toEqual(Float32Array.from({ length: 64 * 64 }, (_, index) => steps + index / 8));
});
