import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { noParallelism } from '../parallelism.ts';
import { GradientTree } from './gradient-tree.ts';
import { grainNumbers } from './grains.ts';

const tree = (parts: readonly string[]) => {
  const sums = new GradientTree<string>((older, newer) => `(${older}${newer})`);
  for (const part of parts) sums.add(part);
  return sums.finish();
};
const power = fc.integer({ min: 0, max: 3 }).map((exponent) => 2 ** exponent);
const range = (count: number) => Array.from({ length: count }, (_, index) => index);

/** The numbers of each rank, by replica and shard. */
function shares(grains: number, dataReplicate: number, dataShard: number, reduceEveryGrain: boolean): number[][][] {
  const parallelism = { ...noParallelism, dataReplicate, dataShard, reduceEveryGrain };
  return range(dataReplicate).map((replicate) =>
    range(dataShard).map((shard) => grainNumbers(grains, parallelism, { replicate, shard })),
  );
}

describe('gradients are added as by one rank', () => {
  test('where a rank adds its own grains first, for any number of replicas and shards', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 6 }), power, (replicas, shards, count) => {
        const grains = replicas * shards * count;
        const ranks = shares(grains, replicas, shards, false).flat();
        expect(tree(ranks.map((own) => tree(own.map((grain) => `.${grain}`))))).toBe(
          tree(range(grains).map((grain) => `.${grain}`)),
        );
      }),
    );
  });

  test('where each grain is added over the shards first, then over the grains, then over the replicas', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 6 }), power, power, (replicas, shards, count) => {
        const grains = replicas * shards * count;
        const sums = shares(grains, replicas, shards, true).map((ranks) =>
          tree(range(count).map((round) => tree(ranks.map((own) => `.${own[round]}`)))),
        );
        expect(tree(sums)).toBe(tree(range(grains).map((grain) => `.${grain}`)));
      }),
    );
  });
});
