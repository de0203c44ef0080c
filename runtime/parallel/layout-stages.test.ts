import fc from 'fast-check';
import { expect, test } from 'vitest';
import { newModelConfig } from '#runtime/model/families/families.ts';
import { parameterSpecs } from '#runtime/model/parameters.ts';
import { cutStages } from './layout-stages.ts';
import { unitCost, unitsOf } from './layout-units.ts';

test('stages follow each other, hold every unit once, and no other cut has a cheaper dearest stage', () => {
  const costs = fc.array(fc.integer({ min: 0, max: 20 }), { minLength: 1, maxLength: 9 });
  fc.assert(
    fc.property(costs, fc.integer({ min: 1, max: 9 }), (costs, wanted) => {
      const stages = Math.min(wanted, costs.length);
      const runs = cutStages(costs, stages);
      expect(runs.map(([begin]) => begin)).toEqual([0, ...runs.slice(0, -1).map(([, end]) => end)]);
      expect(runs.at(-1)![1]).toBe(costs.length);
      for (const [begin, end] of runs) expect(end).toBeGreaterThan(begin);
      const costOf = ([begin, end]: readonly [number, number]) => costs.slice(begin, end).reduce((a, b) => a + b, 0);
      expect(Math.max(...runs.map(costOf))).toBe(leastOfAllCuts(costs, stages));
    }),
  );
});

test('an embedding goes with the first blocks, and a head of a large vocabulary counts as blocks do', () => {
  const config = newModelConfig('llama', { hiddenSize: 192, layers: 6, heads: 6 }, { vocabularySize: 4096, trainingLength: 128 });
  const units = unitsOf(config);
  const stages = cutStages(
    units.map(({ kind }) => unitCost(config, 128, kind)),
    3,
  );
  expect(
    stages.map(([begin, end]) =>
      units
        .slice(begin, end)
        .map(({ name }) => name)
        .join(' '),
    ),
  ).toMatchInlineSnapshot(`
    [
      "embedding blocks.0 blocks.1 blocks.2",
      "blocks.3 blocks.4",
      "blocks.5 head",
    ]
  `);
});

test('units hold every parameter of a model once', () => {
  for (const family of ['gpt2', 'llama'] as const) {
    const config = newModelConfig(family, { hiddenSize: 32, layers: 12, heads: 2 }, { vocabularySize: 64, trainingLength: 8 });
    expect(unitsOf(config).flatMap(({ parameters }) => parameters)).toEqual(parameterSpecs(config));
  }
});

/** By trying every cut. */
function leastOfAllCuts(costs: readonly number[], stages: number): number {
  const sum = (list: readonly number[]) => list.reduce((a, b) => a + b, 0);
  if (stages === 1) return sum(costs);
  const firsts = Array.from({ length: costs.length - stages + 1 }, (_, index) => index + 1);
  return Math.min(...firsts.map((end) => Math.max(sum(costs.slice(0, end)), leastOfAllCuts(costs.slice(end), stages - 1))));
}
