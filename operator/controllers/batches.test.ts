import { describe, expect, it } from 'vitest';
import { inBatches, runsOf } from './batches.ts';

describe('batches', () => {
  const hundred = Array.from({ length: 100 }, (_, index) => index);

  it('begin with eight, and each that succeeds makes room for two', async () => {
    const begun: number[] = [];
    const answers: (() => void)[] = [];
    const all = inBatches(hundred, (item) => {
      begun.push(item);
      return new Promise<void>((resolve) => answers.push(resolve));
    });
    const counts: number[] = [];
    while (answers.length > 0) {
      counts.push(answers.length);
      for (const answer of answers.splice(0)) answer();
      await new Promise((resolve) => setImmediate(resolve));
    }
    await all;
    expect(counts).toEqual([8, 16, 32, 44]);
    expect(begun).toEqual(hundred);
  });

  it('begin nothing more after one has failed, and throw its reason when the others have ended', async () => {
    const begun: number[] = [];
    const ended: number[] = [];
    const act = async (item: number) => {
      begun.push(item);
      await new Promise((resolve) => setImmediate(resolve));
      if (item === 1) throw new Error('over the quota');
      if (item > 7) await new Promise((resolve) => setImmediate(resolve));
      ended.push(item);
    };
    await expect(inBatches(hundred, act)).rejects.toThrow('over the quota');
    // The eight of the start, and what the first of them made room for.
    expect(begun).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(ended.toSorted((a, b) => a - b)).toEqual(begun.filter((item) => item !== 1));
  });

  it('hold neighbours of a kind, and keep the order of all', () => {
    const actions = ['create a', 'create b', 'delete a', 'create c'];
    expect(runsOf(actions, (action) => action.split(' ')[0]!)).toEqual([['create a', 'create b'], ['delete a'], ['create c']]);
    expect(runsOf([], String)).toEqual([]);
  });
});
