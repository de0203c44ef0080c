import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isWindlassError } from '#runtime/api/errors.ts';
import { newModelConfig } from '#runtime/model/families/families.ts';
import { layoutForWorld, legalLayouts } from './layout-choices.ts';
import { ParallelLayout } from './layout.ts';
import { buildSchedule, formatScheduleCsv } from './schedule/main.ts';
import { noParallelism, worldOf } from './parallelism.ts';
import type { Parallelism } from './parallelism.ts';

const model = newModelConfig(
  'llama',
  { hiddenSize: 48, layers: 4, heads: 6, kvHeads: 2, intermediateSize: 128 },
  { vocabularySize: 100, trainingLength: 36 },
);
const batch = { sequences: 16, length: 36, grains: 8 };

function layoutOf(axes: Partial<Parallelism>): ParallelLayout {
  const parallelism = { ...noParallelism, ...axes };
  return new ParallelLayout(parallelism, worldOf(parallelism));
}

describe('ranks', () => {
  const layout = layoutOf({ pipeline: 2, dataReplicate: 2, dataShard: 3, tensor: 2 });

  test('tensor is the innermost axis, then shard, replicate and pipeline', () => {
    const places = [0, 1, 2, 5, 6, 12, 23].map((rank) => {
      const { pipeline, replicate, shard, tensor, data } = layout.coordinates(rank);
      return `${rank}: p${pipeline} r${replicate} s${shard} t${tensor}, data ${data}`;
    });
    expect(places).toMatchInlineSnapshot(`
      [
        "0: p0 r0 s0 t0, data 0",
        "1: p0 r0 s0 t1, data 0",
        "2: p0 r0 s1 t0, data 1",
        "5: p0 r0 s2 t1, data 2",
        "6: p0 r1 s0 t0, data 3",
        "12: p1 r0 s0 t0, data 0",
        "23: p1 r1 s2 t1, data 5",
      ]
    `);
  });

  test('groups list ranks in the order of their axis', () => {
    const rank = layout.rankOf({ pipeline: 1, replicate: 1, shard: 0, tensor: 1 });
    expect(rank).toBe(19);
    expect(layout.tensorGroup(rank)).toEqual([18, 19]);
    expect(layout.shardGroup(rank)).toEqual([19, 21, 23]);
    expect(layout.replicateGroup(rank)).toEqual([13, 19]);
    expect(layout.dataGroup(rank)).toEqual([13, 15, 17, 19, 21, 23]);
    expect(layout.pipelineGroup(rank)).toEqual([7, 19]);
    expect(layout.modelGroup(rank)).toEqual([6, 7, 8, 9, 10, 11, 18, 19, 20, 21, 22, 23]);
  });

  test('every group of a rank holds it, is the same for all its members, and groups of a kind tile the world', () => {
    const axis = fc.integer({ min: 1, max: 4 });
    fc.assert(
      fc.property(axis, axis, axis, axis, (pipeline, dataReplicate, dataShard, tensor) => {
        const any = layoutOf({ pipeline, dataReplicate, dataShard, tensor });
        const kinds = ['tensorGroup', 'shardGroup', 'replicateGroup', 'dataGroup', 'pipelineGroup', 'modelGroup'] as const;
        for (const kind of kinds) {
          const groups = new Set(Array.from({ length: any.world }, (_, rank) => any[kind](rank).join()));
          for (let rank = 0; rank < any.world; rank += 1) {
            expect(any.rankOf(any.coordinates(rank))).toBe(rank);
            const members = any[kind](rank);
            expect(members).toContain(rank);
            for (const member of members) expect(any[kind](member)).toEqual(members);
          }
          const all = [...groups].flatMap((group) => group.split(',').map(Number));
          expect(all.toSorted((a, b) => a - b)).toEqual(Array.from({ length: any.world }, (_, rank) => rank));
        }
      }),
      { numRuns: 30 },
    );
  });

  test('a world that is not the product of the axes is refused with a size that fits', () => {
    const four = { ...noParallelism, pipeline: 2, tensor: 2 };
    expect(messageOf(() => new ParallelLayout(four, 12))).toMatchInlineSnapshot(
      `"spec.parallelism: pipeline 2 x dataReplicate 1 x dataShard 1 x tensor 2 makes 4 ranks, but the world has 12: dataReplicate: 3 would fit"`,
    );
    expect(messageOf(() => new ParallelLayout(four, 6))).toMatchInlineSnapshot(
      `"spec.parallelism: pipeline 2 x dataReplicate 1 x dataShard 1 x tensor 2 makes 4 ranks, but the world has 6: use 4 ranks"`,
    );
  });
});

describe('validation', () => {
  const lines = (ranks: number) =>
    formatScheduleCsv(buildSchedule({ schedule: '1f1b', pipeline: ranks, stagesPerRank: 1, grains: batch.grains }));
  const own = lines(2);
  const cases: Record<string, Partial<Parallelism>> = {
    'heads, kvHeads and vocabulary too small for the tensor group': { tensor: 8 },
    'kvHeads too few for the tensor group': { tensor: 4 },
    'a tensor group of another size': { tensor: 3 },
    'a fraction': { dataReplicate: 1.5 },
    'sequence parallel without a tensor group': { sequenceParallel: true },
    'data ranks that no power of two of grains suits': { dataReplicate: 3 },
    'more data ranks than grains': { dataReplicate: 4, dataShard: 4 },
    'more data ranks than sequences': { dataReplicate: 32 },
    'zero without shards': { zero: 2 },
    'weights kept that are not sharded': { dataShard: 2, zero: 2, reshardAfterForward: false },
    'weights kept without shards': { reshardAfterForward: false },
    'neighbours of shards that are kept': { dataShard: 4, reshardAfterForward: false, reshardWithin: 2 },
    'neighbours that do not divide the shards': { dataShard: 8, reshardWithin: 3 },
    'as many neighbours as shards': { dataShard: 2, reshardWithin: 2 },
    'reductions of every grain without shards': { reduceEveryGrain: true },
    'reductions of every grain with whole gradients': { dataShard: 2, zero: 1, reduceEveryGrain: true },
    'turns of a number of shards that is no power of two': { dataShard: 6, reduceEveryGrain: true },
    'a schedule without a pipeline': { schedule: 'zbv', stagesPerRank: 2 },
    'stages without a pipeline': { stagesPerRank: 2 },
    'too few stages for interleaving': { pipeline: 2, schedule: 'interleaved' },
    'too many stages for 1F1B': { pipeline: 2, stagesPerRank: 2 },
    'more stages than layers': { pipeline: 8 },
    'more stages than layers, in chunks': { pipeline: 2, schedule: 'interleaved', stagesPerRank: 4 },
    'too few grains for DualPipeV': { pipeline: 2, dataShard: 4, schedule: 'dualpipev', stagesPerRank: 2 },
    "a schedule of one's own for other ranks": { pipeline: 3, schedule: 'csv', scheduleCsv: own },
    "a schedule of one's own for other grains": { pipeline: 2, dataReplicate: 4, schedule: 'csv', scheduleCsv: own },
    "a schedule of one's own for fewer grains": {
      pipeline: 2,
      schedule: 'csv',
      scheduleCsv: own.replaceAll(/,[FB]\d\.[4-7]/g, ''),
    },
    "a schedule of one's own that can not be read": { pipeline: 2, schedule: 'csv', scheduleCsv: own.replace('B1.5', 'X') },
    "a schedule of one's own with too many stages": { pipeline: 7, schedule: 'csv', scheduleCsv: lines(7) },
    'too few entries for the stages': { pipeline: 4, stageLayers: [2, 2] },
    'entries that are not all layers': { pipeline: 2, stageLayers: [2, 3] },
    "entries for a schedule of one's own": { pipeline: 2, schedule: 'csv', scheduleCsv: own, stageLayers: [4] },
    'a stage in the middle without a layer': { pipeline: 3, stageLayers: [2, 0, 2] },
    'several faults': { tensor: 4, dataReplicate: 3, pipeline: 2, schedule: 'zbv' },
  };
  const refused = Object.fromEntries(
    Object.entries(cases).map(([name, axes]) => [name, messageOf(() => layoutOf(axes).validate(model, batch))]),
  );

  test('messages name the field, the value, the reason and a size that would fit', () => {
    expect(refused).toMatchInlineSnapshot(`
      {
        "a fraction": "spec.parallelism.dataReplicate: is 1.5; it is a count of at least 1",
        "a schedule of one's own for fewer grains": "spec.parallelism.scheduleCsv: is for 4 grains, but each data rank works through 8: it needs batch.grains: 4, or cells for 8",
        "a schedule of one's own for other grains": "spec.parallelism.scheduleCsv: is for 8 grains, but each data rank works through 2: it needs batch.grains: 32, or cells for 2",
        "a schedule of one's own for other ranks": "spec.parallelism.scheduleCsv: has 2 lines of actions, one for each rank, but the pipeline has 3 ranks: pipeline: 2 would fit",
        "a schedule of one's own that can not be read": "spec.parallelism.scheduleCsv: line 3, column 56: "X" is no action; F0.3 is one: forward of stage 0, grain 3",
        "a schedule of one's own with too many stages": "spec.parallelism.scheduleCsv: has 7 stages, but the model has 4 layers, an embedding and a head to fill them with. 6 stages would fit",
        "a schedule without a pipeline": "spec.parallelism.schedule: is zbv with pipeline: 1; there is nothing to pass on. Set pipeline: 2, or leave it out",
        "a stage in the middle without a layer": "spec.parallelism.stageLayers: is [2, 0, 2], but stage 1 would be empty: only the first, which has the embedding, and the last, which has the head, can do without a layer",
        "a tensor group of another size": "spec.parallelism.tensor: is 3, but a tensor group has 1, 2, 4, 8 ranks. 2 would fit",
        "as many neighbours as shards": "spec.parallelism.reshardWithin: is 2, but 2 ranks of dataShard can't be split evenly into smaller groups of so many. Leave it out",
        "data ranks that no power of two of grains suits": "spec.task.pretrain.batch.grains: is 8, but 3 data ranks (dataReplicate x dataShard) each take a power of two of grains, all of equal numbers of the 16 sequences: none fits; make sequences a multiple of 3",
        "entries for a schedule of one's own": "spec.parallelism.stageLayers: is [4], but the pipeline has 2 stages, which need an entry each. [2, 2] would fit",
        "entries that are not all layers": "spec.parallelism.stageLayers: is [2, 3], 5 layers in all, but the model has 4. [2, 2] would fit",
        "heads, kvHeads and vocabulary too small for the tensor group": "spec.parallelism.tensor: is 8, but the model's 6 heads can't be split evenly; the model's 2 kvHeads can't be split evenly; the vocabulary of 100 has fewer than 8 x 16 tokens. 2 would fit",
        "kvHeads too few for the tensor group": "spec.parallelism.tensor: is 4, but the model's 6 heads can't be split evenly; the model's 2 kvHeads can't be split evenly. 2 would fit",
        "more data ranks than grains": "spec.task.pretrain.batch.grains: is 8, but 16 data ranks (dataReplicate x dataShard) each take a power of two of grains, all of equal numbers of the 16 sequences: grains: 16 would fit",
        "more data ranks than sequences": "spec.task.pretrain.batch.grains: is 8, but 32 data ranks (dataReplicate x dataShard) each take a power of two of grains, all of equal numbers of the 16 sequences: none fits; make sequences a multiple of 32",
        "more stages than layers": "spec.parallelism.pipeline: is 8 x stagesPerRank 1 = 8 stages, but the model has 4 layers, an embedding and a head to fill them with. pipeline: 6 would fit",
        "more stages than layers, in chunks": "spec.parallelism.pipeline: is 2 x stagesPerRank 4 = 8 stages, but the model has 4 layers, an embedding and a head to fill them with. stagesPerRank: 3 would fit",
        "neighbours of shards that are kept": "spec.parallelism.reshardWithin: is 2 with reshardAfterForward: false, which keeps all weights. Leave it out",
        "neighbours that do not divide the shards": "spec.parallelism.reshardWithin: is 3, but 8 ranks of dataShard can't be split evenly into smaller groups of so many. 4 would fit",
        "reductions of every grain with whole gradients": "spec.parallelism.reduceEveryGrain: is true with zero: 1; gradients are sharded by zero: 2 and 3. Leave it out",
        "reductions of every grain without shards": "spec.parallelism.reduceEveryGrain: is true with dataShard: 1; gradients are sharded by zero: 2 and 3. Leave it out",
        "sequence parallel without a tensor group": "spec.parallelism.sequenceParallel: is true with tensor: 1; it splits within a tensor group. Set tensor: 2, or leave it out",
        "several faults": "spec.parallelism.tensor: is 4, but the model's 6 heads can't be split evenly; the model's 2 kvHeads can't be split evenly. 2 would fit
      spec.task.pretrain.batch.grains: is 8, but 3 data ranks (dataReplicate x dataShard) each take a power of two of grains, all of equal numbers of the 16 sequences: none fits; make sequences a multiple of 3
      spec.parallelism.stagesPerRank: is 1, but schedule zbv takes exactly 2. 2 would fit",
        "stages without a pipeline": "spec.parallelism.stagesPerRank: is 2 with pipeline: 1; there is one stage. Leave it out",
        "too few entries for the stages": "spec.parallelism.stageLayers: is [2, 2], but the pipeline has 4 stages, which need an entry each. [0, 2, 1, 1] would fit",
        "too few grains for DualPipeV": "spec.parallelism.schedule: is dualpipev, which needs at least 4 grains per data rank and has 2; 4 would fit",
        "too few stages for interleaving": "spec.parallelism.stagesPerRank: is 1, but schedule interleaved takes at least 2. 2 would fit",
        "too many stages for 1F1B": "spec.parallelism.stagesPerRank: is 2, but schedule 1f1b takes exactly 1. 1 would fit",
        "turns of a number of shards that is no power of two": "spec.task.pretrain.batch.grains: is 8, but 6 data ranks (dataReplicate x dataShard) each take a power of two of grains, all of equal numbers of the 16 sequences: none fits; make sequences a multiple of 6
      spec.parallelism.reduceEveryGrain: is true, but the sum of a grain of each of 6 ranks is no branch of a binary tree. dataShard: 4 would fit",
        "weights kept that are not sharded": "spec.parallelism.reshardAfterForward: is false with zero: 2; weights are sharded by zero: 3 and dataShard above 1 only. Leave it out",
        "weights kept without shards": "spec.parallelism.reshardAfterForward: is false with dataShard: 1; weights are sharded by zero: 3 and dataShard above 1 only. Leave it out",
        "zero without shards": "spec.parallelism.zero: is 2 with dataShard: 1; there is nothing to shard over. Set dataShard: 2, or leave it out",
      }
    `);
  });

  test('sequence parallelism needs sequences that split evenly', () => {
    const odd = { ...batch, length: 35 };
    expect(messageOf(() => layoutOf({ tensor: 2, sequenceParallel: true }).validate(model, odd))).toMatchInlineSnapshot(
      `"spec.parallelism.tensor: is 2, but sequences of 35 tokens can't be split evenly by sequenceParallel. 1 would fit"`,
    );
  });

  test('the path of the first fault goes with the error', () => {
    const attempt = () => layoutOf({ dataReplicate: 3 }).validate(model, batch);
    expect(attempt).toThrow(expect.objectContaining({ details: { path: 'spec.task.pretrain.batch.grains' } }));
  });

  test('an uneven vocabulary is legal', () => {
    expect(() => layoutOf({ tensor: 2 }).validate(model, batch)).not.toThrow();
  });

  test('one data rank takes any number of grains that divides the sequences', () => {
    const thirds = { ...batch, sequences: 15, grains: 3 };
    expect(() => layoutOf({ tensor: 2, pipeline: 2 }).validate(model, thirds)).not.toThrow();
    expect(messageOf(() => layoutOf({ tensor: 2 }).validate(model, { ...thirds, grains: 4 }))).toMatchInlineSnapshot(
      `"spec.task.pretrain.batch.grains: is 4 and must divide the 15 sequences: grains: 3 or 5 would fit"`,
    );
  });
});

describe('choices', () => {
  test('legal layouts of a world all multiply to it, are valid and differ from each other', () => {
    for (const world of [1, 2, 3, 4, 6, 8]) {
      const layouts = legalLayouts(world, model, batch);
      for (const layout of layouts) new ParallelLayout(layout, world).validate(model, batch);
      expect(new Set(layouts.map((layout) => JSON.stringify(layout))).size).toBe(layouts.length);
    }
  });

  test('the number of legal layouts is what the rules leave', () => {
    expect([1, 2, 3, 4, 8].map((world) => legalLayouts(world, model, batch).length)).toMatchInlineSnapshot(`
      [
        1,
        15,
        6,
        83,
        220,
      ]
    `);
  });

  test('a smaller world loses replicas first, then shards, a larger one gains replicas; tensor and pipeline stay', () => {
    const full = { ...noParallelism, dataReplicate: 2, dataShard: 2, zero: 2, tensor: 2 } as const;
    const worlds = [32, 16, 8, 7, 4, 3, 2, 1].map((world) => {
      const left = layoutForWorld(full, world);
      return left && `${left.dataReplicate} x ${left.dataShard} x ${left.tensor}, zero ${left.zero}`;
    });
    expect(worlds).toMatchInlineSnapshot(`
      [
        "8 x 2 x 2, zero 2",
        "4 x 2 x 2, zero 2",
        "2 x 2 x 2, zero 2",
        "1 x 2 x 2, zero 2",
        "1 x 2 x 2, zero 2",
        "1 x 1 x 2, zero 3",
        "1 x 1 x 2, zero 3",
        undefined,
      ]
    `);
  });

  test('shards that are left keep their ways as far as these have a meaning', () => {
    const full = { ...noParallelism, dataShard: 8, reshardWithin: 4, reduceEveryGrain: true };
    const left = [8, 4, 1].map((world) => layoutForWorld(full, world));
    expect(left).toEqual([full, { ...full, dataShard: 4, reshardWithin: undefined }, noParallelism]);
    expect(layoutForWorld({ ...full, reshardWithin: 2 }, 4)).toMatchObject({ dataShard: 4, reshardWithin: 2 });
  });
});

function messageOf(attempt: () => unknown): string {
  try {
    attempt();
  } catch (error) {
    if (isWindlassError(error)) return error.message;
    throw error;
  }
  return 'accepted';
}
