import { describe, expect, test } from 'vitest';
import { buildSchedule } from '../schedule/main.ts';
import { activationBytes, gatherCounts, gradientBuffers } from './order.ts';

const grains = (count: number) =>
  Array.from({ length: count }, () => [
    { type: 'forward', stage: 0 },
    { type: 'backward', stage: 0 },
  ]).flat();

describe('gradient buffers', () => {
  test.each([
    [1, 1],
    [2, 2],
    [3, 2],
    [4, 3],
    [8, 4],
    [9, 4],
  ])('%i grains after each other need %i', (count, buffers) => {
    expect(gradientBuffers(grains(count), 0)).toBe(buffers);
  });

  test('grains whose weight gradient waits keep a buffer of their own', () => {
    const { actions } = buildSchedule({ schedule: 'zb1p', pipeline: 4, stagesPerRank: 1, grains: 8 });
    expect(actions.map((of, rank) => gradientBuffers(of, rank))).toMatchInlineSnapshot(`
      [
        4,
        4,
        5,
        6,
      ]
    `);
  });
});

describe('activations', () => {
  const sizes = { kept: 10, deferred: 4, working: 1, deferring: 0 };

  test('are held from forward to backward, with the working bytes of one stage', () => {
    expect(activationBytes(grains(3), new Map([[0, sizes]]))).toBe(11);
    const all = [...Array.from({ length: 3 }, () => ({ type: 'forward', stage: 0 })), { type: 'backward', stage: 0 }];
    expect(activationBytes(all, new Map([[0, sizes]]))).toBe(31);
  });

  test('give way to what weight gradients need where those wait', () => {
    const split = ['forward', 'backwardInput', 'forward', 'backwardInput', 'backwardWeight', 'backwardWeight'];
    const actions = split.map((type) => ({ type, stage: 0 }));
    expect(activationBytes(actions, new Map([[0, sizes]]))).toBe(15);
  });
});

describe('gathers of weights', () => {
  const units = ['embedding', 'block 0', 'block 1', 'block 2', 'head'];
  const stages = new Map([[0, units]]);

  test('two slots gather what is not there from the last use, forwards and backwards', () => {
    expect(gatherCounts(grains(1), stages, 'head', 2)).toEqual(
      new Map([
        ['embedding', 2],
        ['block 0', 2],
        ['block 1', 2],
        ['block 2', 1],
        ['head', 1],
      ]),
    );
  });

  test('a slot for each unit gathers it once per step', () => {
    expect([...gatherCounts(grains(4), stages, 'head', 5).values()]).toEqual([1, 1, 1, 1, 1]);
  });
});
