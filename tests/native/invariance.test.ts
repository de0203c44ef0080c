// Fifty steps give the same weights, bit for bit, whatever computes them and whoever looks on.
import { rm } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newFolder, runRank, tinyJob, weightsDigest } from './rank.ts';
import { itIsTheSameForAll, twoJobs } from './same-result.ts';
import type { JobChange } from './same-result.ts';

describe.each(twoJobs)('%s', (_name, model) => {
  const folders: string[] = [];
  afterAll(async () => {
    for (const folder of folders) await rm(folder, { recursive: true });
  });

  /** Weights after the job, in a folder of its own. */
  async function weightsOf(change: JobChange = {}, env: Record<string, string> = {}): Promise<string> {
    const folder = await newFolder();
    folders.push(folder);
    return await weightsDigest(folder, await runRank(folder, tinyJob(folder, { ...model, ...change }), env));
  }

  let plain: string;
  beforeAll(async () => {
    plain = await weightsOf();
  });

  itIsTheSameForAll(weightsOf, () => plain);

  it('evaluations, samples and checkpoints, none or many, leave the weights as they are', async () => {
    const nothing = { task: { evaluation: undefined }, checkpoint: { everySteps: 1000 } };
    const samples = { everySteps: 7, prompt: 'Call me', tokens: 4 };
    const much = { task: { evaluation: { everySteps: 3, sequences: 2 }, samples }, checkpoint: { everySteps: 1 } };
    expect([await weightsOf(nothing), await weightsOf(much)]).toEqual([plain, plain]);
  });

  it('another seed and another number of grains are another job', async () => {
    expect(new Set([plain, await weightsOf({ task: { seed: 1 } }), await weightsOf({ batch: { grains: 2 } })]).size).toBe(3);
  });
});
