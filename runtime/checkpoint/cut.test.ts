// A save that is cut off at any call of the file system leaves the old checkpoint or the new one, never a mix.
import { cp, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { cutDisk } from './cut-disk.ts';
import type { CutDisk } from './cut-disk.ts';
import { loadNewest } from './load.ts';
import { saveCheckpoint } from './save.ts';
import { contentsOf, onEveryRank, saveFrom, shardsOfRank } from './testing.ts';
import type { TestTensor } from './testing.ts';

const layout = { shards: 2, tensor: 2 };
const tensorsOf = (version: number): TestTensor[] =>
  (['weights', 'first', 'second'] as const).flatMap((group) =>
    Array.from({ length: 5 }, (_, index) => ({ group, name: `t${index}`, shape: [8, 6], from: 1000 * version + 60 * index })),
  );

let root: string;
let before: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'wl-cut-'));
  before = join(root, 'before');
  await saveFrom(before, tensorsOf(1), layout, 1);
});
afterAll(() => rm(root, { recursive: true }));

/** Saves `version` as `step` from four ranks and keeps one checkpoint, until the power is cut. */
async function saveUntilCut(folder: string, disk: CutDisk, version: number, step: number): Promise<void> {
  await onEveryRank(layout, async (rank, exchange) => {
    const contents = contentsOf([], step, shardsOfRank(tensorsOf(version), layout, rank));
    try {
      await saveCheckpoint(folder, contents, { exchange, disk, keep: 1 });
    } catch (error) {
      if (!disk.isCut) throw error;
    }
  });
}

/** The version of the checkpoint that a job of one rank finds; all of its values must be of that version. */
async function versionIn(folder: string): Promise<number> {
  const shards = shardsOfRank(tensorsOf(0), {}, 0, true);
  const onDamaged = (error: Error) => {
    throw error;
  };
  const state = await loadNewest(folder, 'c0ffee', shards, { onDamaged });
  expect(state, 'a checkpoint').toBeDefined();
  const version = [1, 2].find((each) => JSON.stringify(shards) === JSON.stringify(shardsOfRank(tensorsOf(each), {}, 0)));
  expect(version, 'values of one version').toBeDefined();
  return version!;
}

it.each([
  ['of the next step', 2],
  ['of the same step', 1],
])('a save %s, cut off at each call and in the middle of each write', { timeout: 120_000 }, async (_, step) => {
  const whole = cutDisk(Infinity);
  await cp(before, join(root, 'whole'), { recursive: true });
  await saveUntilCut(join(root, 'whole'), whole, 2, step);
  expect(await versionIn(join(root, 'whole'))).toBe(2);
  await rm(join(root, 'whole'), { recursive: true });

  const found: number[] = [];
  for (let cutAt = 0; cutAt < whole.calls; cutAt += 0.5) {
    const folder = join(root, `cut-${cutAt}`);
    await cp(before, folder, { recursive: true });
    const disk = cutDisk(cutAt);
    await saveUntilCut(folder, disk, 2, step);
    expect(disk.isCut, `call ${cutAt}`).toBe(true);
    await disk.lose();
    found.push(await versionIn(folder));
    // The load removed what was left of the save.
    const [checkpoint, ...others] = (await readdir(folder)).toSorted().reverse();
    expect(checkpoint, `call ${cutAt}`).toBe(found.at(-1) === 2 ? `step-0000000${step}` : 'step-00000001');
    expect(
      others.filter((name) => name !== 'step-00000001'),
      `call ${cutAt}`,
    ).toEqual([]);
    await rm(folder, { recursive: true });
  }
  expect(found.length).toBeGreaterThanOrEqual(100);
  expect(found[0]).toBe(1);
  expect(found.at(-1)).toBe(2);
  expect(
    found.toSorted((a, b) => a - b),
    'old up to some call, new from then on',
  ).toEqual(found);
});
