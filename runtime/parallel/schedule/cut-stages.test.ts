import fc from 'fast-check';
import { expect, it } from 'vitest';
import { cutStages } from './cut-stages.ts';
import { thrownBy } from './testing.ts';

const ranges = (costs: readonly number[], stages: number) => cutStages(costs, stages).map(({ first, end }) => [first, end]);

it.each([
  [
    'equal blocks',
    [0, 1, 1, 1, 1, 1, 1, 0],
    3,
    [
      [0, 3],
      [3, 5],
      [5, 8],
    ],
  ],
  [
    'a dear head alone on the last stage',
    [0.1, 1, 1, 1, 1, 1, 1, 5.4],
    3,
    [
      [0, 4],
      [4, 7],
      [7, 8],
    ],
  ],
  [
    'as many stages as parts',
    [1, 2, 3, 4],
    4,
    [
      [0, 1],
      [1, 2],
      [2, 3],
      [3, 4],
    ],
  ],
  ['one stage', [1, 2, 3, 4], 1, [[0, 4]]],
])('cuts %s', (_, costs, stages, expected) => {
  expect(ranges(costs, stages)).toEqual(expected);
});

it('finds a cut whose dearest stage is no dearer than that of any other cut', () => {
  const costs = fc.array(fc.integer({ min: 0, max: 20 }), { minLength: 3, maxLength: 9 });
  fc.assert(
    fc.property(costs, fc.nat(), (list, seed) => {
      const stages = 1 + (seed % list.length);
      const cuts = cutStages(list, stages);
      expect(cuts.map(({ first }) => first)).toEqual([0, ...cuts.slice(0, -1).map(({ end }) => end)]);
      expect(cuts.at(-1)!.end).toBe(list.length);
      expect(cuts.every(({ first, end, cost }) => first < end && cost === sum(list.slice(first, end)))).toBe(true);
      const dearest = (parts: number[][]) => Math.max(...parts.map(sum));
      const best = Math.min(...allCuts(list, stages).map(dearest));
      expect(Math.max(...cuts.map(({ cost }) => cost))).toBe(best);
    }),
  );
});

it('refuses more stages than parts', () => {
  expect(thrownBy(() => cutStages([1, 1, 1, 1], 8))).toMatchObject({
    code: 'WL_MANIFEST_INVALID',
    message:
      'spec.parallelism.pipeline: 8 stages in all, but the model has 4 parts (embedding, 2 blocks, head); at most 4 stages fit',
    details: { path: 'spec.parallelism.pipeline' },
  });
});

const sum = (list: readonly number[]) => list.reduce((total, value) => total + value, 0);

function allCuts(list: readonly number[], stages: number): number[][][] {
  if (stages === 1) return [[[...list]]];
  return list
    .slice(0, list.length - stages + 1)
    .flatMap((_, index) => allCuts(list.slice(index + 1), stages - 1).map((rest) => [list.slice(0, index + 1), ...rest]));
}
