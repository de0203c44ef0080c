// The tests that training must pass in every precision: what computes a job, and how it is cut, has no part in what comes out.
import { expect, it } from 'vitest';
import * as kernels from '#kernels/binding.ts';
import type { tinyJob } from './rank.ts';

export type JobChange = Parameters<typeof tinyJob>[1];

/** One with and one without what the other has: dropout, biases, grouped attention, gates. */
export const twoJobs = [
  ['llama with grouped attention', { family: 'llama', config: { kvHeads: 2 } }],
  ['gpt2 with dropout', { family: 'gpt2', config: { dropout: 0.1 } }],
] as const;

/** A rank without WL_ISA takes the last that the machine has. */
const best = kernels.instructionSets.indexOf(kernels.isa());

/** `train` gives what came out of a job; `plain` is that of the job without a change. */
export function itIsTheSameForAll<T>(
  train: (change?: JobChange, env?: Record<string, string>) => Promise<T>,
  plain: () => T,
): void {
  it('two threads give the weights of one', async () => {
    expect(await train({}, { WL_THREADS: '2' })).toEqual(plain());
  });

  for (const [rank, isa] of kernels.instructionSets.entries()) {
    if (rank === best) continue;
    it.skipIf(rank > best)(`${isa} gives the weights of ${kernels.instructionSets[best]}`, async () => {
      expect(await train({}, { WL_ISA: isa })).toEqual(plain());
    });
  }

  it('blocks that are computed again give the weights of blocks that are kept', async () => {
    expect(await train({ recompute: 'block' })).toEqual(plain());
  });
}
