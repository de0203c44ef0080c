// Fifty steps give the same weights, bit for bit, whatever computes them and whoever looks on.
import { rm } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import * as kernels from '#kernels/binding.ts';
import { newFolder, runRank, tinyJob, weightsDigest } from './rank.ts';

const families = [
  ['llama with grouped attention', { family: 'llama', config: { kvHeads: 2 } }],
  ['gpt2 with dropout', { family: 'gpt2', config: { dropout: 0.1 } }],
] as const;

/** From the fewest instructions to the most; a rank without WL_ISA takes the last that the machine has. */
const instructionSets = ['generic', 'avx2', 'avx512'] as const;
const best = instructionSets.indexOf(kernels.isa());

describe.each(families)('%s', (_name, model) => {
  const folders: string[] = [];
  afterAll(async () => {
    for (const folder of folders) await rm(folder, { recursive: true });
  });

  /** Weights after the job, in a folder of its own. */
  async function weightsOf(change: Parameters<typeof tinyJob>[1] = {}, env: Record<string, string> = {}): Promise<string> {
    const folder = await newFolder();
    folders.push(folder);
    return await weightsDigest(folder, await runRank(folder, tinyJob(folder, { ...model, ...change }), env));
  }

  let plain: string;
  beforeAll(async () => {
    plain = await weightsOf();
  });

  it('two threads give the weights of one', async () => {
    expect(await weightsOf({}, { WL_THREADS: '2' })).toBe(plain);
  });

  for (const [rank, isa] of instructionSets.entries()) {
    if (rank === best) continue;
    it.skipIf(rank > best)(`${isa} gives the weights of ${instructionSets[best]}`, async () => {
      expect(await weightsOf({}, { WL_ISA: isa })).toBe(plain);
    });
  }

  it('blocks that are computed again give the weights of blocks that are kept', async () => {
    expect(await weightsOf({ recompute: 'block' })).toBe(plain);
  });

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
