import { expect, it } from 'vitest';
import { chooseWorld, largestWorld } from './world-size.ts';

const fixed = { pods: 4, min: 4, max: 4 };
const elastic = { pods: 8, min: 2, max: 8 };

it.each([
  ['a job that is not elastic takes all pods', fixed, 4, 4],
  ['and goes on with nothing less', fixed, 3, undefined],
  ['an elastic one takes half where one is missing', elastic, 7, 4],
  ['and a quarter', elastic, 3, 2],
  ['but not less than its minimum', elastic, 1, undefined],
  ['nor more than its maximum', { ...elastic, max: 4 }, 8, 4],
  ['shares of an odd number end where halving does', { pods: 6, min: 1, max: 6 }, 5, 3],
  ['and go no further', { pods: 6, min: 1, max: 6 }, 2, undefined],
] as const)('%s', (_, rule, present, size) => {
  expect(largestWorld(rule, present)).toBe(size);
});

it.each([
  ['all are there: at once', elastic, [0, 1, 2, 3, 4, 5, 6, 7], 0, [0, 1, 2, 3, 4, 5, 6, 7]],
  ['one is away: not before the window is over', elastic, [0, 1, 3, 4, 5, 6, 7], 4999, undefined],
  ['then the lowest indices', elastic, [7, 6, 5, 4, 3, 1, 0], 5000, [0, 1, 3, 4]],
  ['at the maximum nobody is waited for', { ...elastic, max: 4 }, [0, 1, 2, 3], 0, [0, 1, 2, 3]],
  ['a job that is not elastic waits', fixed, [0, 1, 2], 1e9, undefined],
] as const)('%s', (_, rule, present, waitedMs, chosen) => {
  expect(chooseWorld(rule, present, waitedMs, 5000)).toEqual(chosen);
});
