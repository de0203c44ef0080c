import { describe, expect, it } from 'vitest';
import { inBatches, runsOf } from './batches.ts';

describe('batches', () => {
  it('grow from one to twice as many each time, and begin when the last one has ended', async () => {
    const sizes: number[] = [];
    let running = 0;
    await inBatches(
      Array.from({ length: 20 }, (_, index) => index),
      async () => {
        if (running === 0) sizes.push(0);
        running += 1;
        sizes.push(sizes.pop()! + 1);
        await Promise.resolve();
        running -= 1;
      },
    );
    expect(sizes).toEqual([1, 2, 4, 8, 5]);
  });

  it('stop with the one in which an action fails, and throw its reason when the others have ended', async () => {
    const begun: number[] = [];
    const ended: number[] = [];
    const act = async (item: number) => {
      begun.push(item);
      await new Promise((resolve) => setImmediate(resolve));
      if (item === 1) throw new Error('over the quota');
      ended.push(item);
    };
    await expect(inBatches([0, 1, 2, 3, 4], act)).rejects.toThrow('over the quota');
    expect([begun, ended]).toEqual([
      [0, 1, 2],
      [0, 2],
    ]);
  });

  it('hold neighbours of a kind, and keep the order of all', () => {
    const actions = ['create a', 'create b', 'delete a', 'create c'];
    expect(runsOf(actions, (action) => action.split(' ')[0]!)).toEqual([['create a', 'create b'], ['delete a'], ['create c']]);
    expect(runsOf([], String)).toEqual([]);
  });
});
