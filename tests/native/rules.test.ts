// Rules of training that are easily broken by spreading it over ranks, each on its own, against the numbers of the definition.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newModelConfig } from '#runtime/model/main.ts';
import { noParallelism, ParallelLayout } from '#runtime/parallel/main.ts';
import type { Batch, Parallelism } from '#runtime/parallel/main.ts';
import { grainNumbers, grainsOf } from '#runtime/parallel/execution/grains.ts';
import { worldOf } from '#runtime/parallel/parallelism.ts';
import { liveTensorCount } from '#runtime/tensor/main.ts';
import { digestOf, stepAll, testBatch, withRanks } from './ranks.ts';
import type { Setting, TestRank } from './ranks.ts';

const batch = { sequences: 8, length: 16, grains: 4 };
/** A vocabulary that no tensor group divides. */
const config = newModelConfig(
  'gpt2',
  { hiddenSize: 32, layers: 4, heads: 4, dropout: 0.1 },
  { vocabularySize: 259, trainingLength: batch.length },
);
const optimizer = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1, clipNorm: 0.5 };
const setting: Setting = { config, batch, seed: 3, recompute: 'none', optimizer };

const layouts: readonly Partial<Parallelism>[] = [
  { dataReplicate: 4 },
  { dataShard: 4 },
  { dataShard: 2, zero: 1 },
  { dataShard: 2, reduceEveryGrain: true },
  { tensor: 4, sequenceParallel: true },
  { pipeline: 2, dataShard: 2 },
  { pipeline: 2, tensor: 2, schedule: 'zb1p' },
];
const cases = layouts.map((layout) => [JSON.stringify(layout).replaceAll('"', ''), layout] as const);
const run = <T>(layout: Partial<Parallelism>, use: (ranks: readonly TestRank[]) => Promise<T>) =>
  withRanks({ ...noParallelism, ...layout }, setting, use);

const tensors = liveTensorCount();
afterAll(() => {
  expect(liveTensorCount(), 'tensors were left behind').toBe(tensors);
});

describe('the loss', () => {
  /** All tokens of the first sequence count, of the last ones fewer and fewer, and none of the two of a whole grain. */
  const uneven = (step: number): Batch => {
    const { inputs, targets } = testBatch(batch, config, step);
    const counts = [16, 14, 9, 5, 0, 0, 2, 1];
    return { inputs, targets: targets.map((target, at) => (at % 16 < counts[at >> 4]! ? Math.abs(target) : -1)) };
  };
  let alone: { losses: number[]; digest: string };
  const train = (layout: Partial<Parallelism>) =>
    run(layout, async (ranks) => {
      const losses: number[] = [];
      for (const step of [1, 2, 3]) losses.push((await stepAll(ranks, uneven(step), step, 0.01))[0]!.loss);
      return { losses, digest: await digestOf(ranks) };
    });
  beforeAll(async () => {
    alone = await train({});
  });

  it('is the mean over all tokens that count, not the mean of the means of grains', async () => {
    const grains = grainsOf(uneven(1), batch, [0, 1, 2, 3]);
    const sums = await run({}, async ([rank]) => await rank!.trainer.execution.evaluate(grains));
    const counts = grains.map(({ targets }) => targets.filter((target) => target >= 0).length);
    expect(counts).toEqual([30, 14, 0, 3]);
    const mean = sums.reduce((total, sum) => total + sum, 0) / 47;
    const ofMeans = sums.reduce((total, sum, grain) => total + sum / Math.max(1, counts[grain]!), 0) / 4;
    // An evaluation is without dropout, which moves the loss of an untrained model by less.
    expect(alone.losses[0]).toBeCloseTo(mean, 1);
    expect(Math.abs(mean - ofMeans)).toBeGreaterThan(1);
  });

  it.each(cases)('is divided by the count of all ranks, also where one has no token that counts: %s', async (_, layout) => {
    expect(await train(layout)).toEqual(alone);
  });
});

it.each([['{}', {}] as const, ...cases])('the gradient norm counts each logical element once: %s', async (_, layout) => {
  await run(layout, async (ranks) => {
    const found = await Promise.all(
      ranks.map(async ({ trainer: { execution } }) => {
        const { gradients, norm, lossSum } = await execution.gradients(testBatch(batch, config, 1), 1);
        const [said] = await norm.read();
        const values = await Promise.all(gradients.map((gradient) => gradient.read()));
        for (const tensor of [lossSum, norm, ...gradients]) tensor.dispose();
        return { said: said!, pieces: execution.pieces.map(({ piece }, index) => ({ piece, values: values[index]! })) };
      }),
    );
    // Elements by name and place in the whole parameter; copies must be equal to the bit.
    const squares = new Map<string, number>();
    for (const { piece, values } of found.flatMap(({ pieces }) => pieces)) {
      const { spec, box } = piece.entry;
      const place = `${spec.name} ${box.offsets.join(',')}`;
      values.forEach((value, at) => {
        const key = `${place} ${piece.begin + at}`;
        if (squares.has(key)) expect(value ** 2, key).toBe(squares.get(key));
        squares.set(key, value ** 2);
      });
    }
    const norm = Math.sqrt(squares.values().reduce((sum, square) => sum + square, 0));
    for (const { said } of found) expect(said / norm).toBeCloseTo(1, 6);
  });
});

it.each(cases.filter(([, { pipeline = 1 }]) => pipeline > 1))(
  'a table that two stages share stays one: %s',
  async (_, layout) => {
    await run(layout, async (ranks) => {
      for (const step of [1, 2, 3]) await stepAll(ranks, testBatch(batch, config, step), step, 0.01);
      const copies = new Map<string, string[]>();
      for (const { trainer } of ranks) {
        for (const { piece, weight } of trainer.execution.pieces) {
          if (piece.entry.spec.name !== 'embedding.tokens') continue;
          const place = `${piece.entry.box.offsets.join(',')} ${piece.begin} ${piece.end}`;
          copies.set(place, [...(copies.get(place) ?? []), (await weight.read()).join()]);
        }
      }
      expect(copies.size).toBeGreaterThan(0);
      for (const [place, texts] of copies) {
        expect(texts.length, `${place} is held by both stages`).toBe(2);
        expect(new Set(texts).size, `the stages agree on ${place}`).toBe(1);
      }
    });
  },
);

it.each(cases)(
  'an evaluation of batches that data ranks cannot share evenly comes to its end with the same losses: %s',
  async (_, layout) => {
    const grains = grainsOf(testBatch(batch, config, 1), batch, [0, 1, 2]);
    const evaluated = (axes: Partial<Parallelism>) =>
      run(axes, (ranks) => Promise.all(ranks.map(({ trainer }) => trainer.execution.evaluate(grains))));
    const [alone] = await evaluated({});
    for (const said of await evaluated(layout)) expect(said).toEqual(alone);
  },
);

it('no sample is lost or repeated, however data ranks share out a step', () => {
  const given = testBatch(batch, config, 1);
  const shared: Partial<Parallelism>[] = [{}, { dataReplicate: 4 }, { dataShard: 2 }, { dataReplicate: 2, dataShard: 2 }];
  for (const axes of shared.flatMap((each) => [each, { ...each, reduceEveryGrain: true }])) {
    const parallelism = { ...noParallelism, ...axes };
    const layout = new ParallelLayout(parallelism, worldOf(parallelism));
    const numbers = Array.from({ length: layout.world }, (_, rank) =>
      grainNumbers(batch.grains, parallelism, layout.coordinates(rank)),
    ).flat();
    const grains = grainsOf(given, batch, numbers).sort((a, b) => a.firstToken - b.firstToken);
    expect(grains).toHaveLength(batch.grains);
    expect(grains.flatMap(({ inputs }) => [...inputs])).toEqual([...given.inputs]);
    expect(grains.flatMap(({ targets }) => [...targets])).toEqual([...given.targets]);
  }
});
