// Twenty steps of training give the same weights, bit for bit, in every legal layout of up to eight ranks.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newModelConfig } from '#runtime/model/main.ts';
import type { ModelConfig } from '#runtime/model/main.ts';
import { legalLayouts } from '#runtime/parallel/layout-choices.ts';
import { noParallelism } from '#runtime/parallel/main.ts';
import type { Parallelism } from '#runtime/parallel/main.ts';
import { liveTensorCount } from '#runtime/tensor/main.ts';
import { digestOf, stepAll, testBatch, withRanks } from './ranks.ts';
import type { Setting } from './ranks.ts';

/** `npm run test:layouts` tries every legal layout; the suite takes every seventeenth, and one of each size, stage of ZeRO and schedule. */
const wantsAll = process.env['WL_LAYOUTS'] === 'all';
const sampleEvery = 17;
const steps = 20;
const shape = { sequences: 8, length: 16 };
const allGrains = 8;
const optimizer = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1, clipNorm: 0.5 };
const size = { hiddenSize: 32, layers: 6, heads: 8, intermediateSize: 128 };
const surroundings = { vocabularySize: 259, trainingLength: shape.length };

const models: readonly (readonly [string, ModelConfig])[] = [
  ['gpt2 with dropout and a tied head', newModelConfig('gpt2', { ...size, dropout: 0.1 }, surroundings)],
  [
    'llama with grouped attention and its own head',
    newModelConfig('llama', { ...size, kvHeads: 4, tieEmbeddings: false }, surroundings),
  ],
];

interface Run {
  readonly digest: string;
  readonly losses: readonly number[];
  readonly norms: readonly number[];
}

async function train(config: ModelConfig, parallelism: Parallelism, grains = allGrains): Promise<Run> {
  const batch = { ...shape, grains };
  const setting: Setting = { config, batch, seed: 3, recompute: 'none', optimizer };
  return await withRanks(parallelism, setting, async (ranks) => {
    const [losses, norms]: [number[], number[]] = [[], []];
    for (let step = 1; step <= steps; step += 1) {
      const results = await stepAll(ranks, testBatch(batch, config, step), step, 0.01);
      expect(new Set(results.map(({ loss, gradientNorm }) => `${loss} ${gradientNorm}`)).size, 'ranks disagree').toBe(1);
      losses.push(results[0]!.loss);
      norms.push(results[0]!.gradientNorm);
    }
    return { digest: await digestOf(ranks), losses, norms };
  });
}

function nameOf(parallelism: Parallelism): string {
  const changed = Object.entries(parallelism).filter(([field, value]) => noParallelism[field as keyof Parallelism] !== value);
  return changed.map(([field, value]) => `${field} ${value}`).join(', ');
}

function sampleOf(all: readonly Parallelism[]): Parallelism[] {
  const seen = new Set<string>();
  return all.filter((layout, index) => {
    const news = Object.entries(layout).map(([field, value]) => `${field} ${value}`);
    const bringsNews = news.some((each) => !seen.has(each));
    for (const each of news) seen.add(each);
    return bringsNews || index % sampleEvery === 0;
  });
}

describe.each(models)('%s', (_name, config) => {
  const all = [2, 3, 4, 5, 6, 7, 8].flatMap((world) => legalLayouts(world, config, { ...shape, grains: allGrains }));
  const layouts = wantsAll ? all : sampleOf(all);
  let alone: Run;
  const tensors = liveTensorCount();
  beforeAll(async () => {
    alone = await train(config, noParallelism);
  });
  afterAll(() => {
    expect(liveTensorCount(), 'tensors were left behind').toBe(tensors);
  });

  it('learns', () => {
    expect(alone.losses.every(Number.isFinite)).toBe(true);
    expect(new Set(alone.losses).size).toBe(steps);
  });

  it('a single grain, whose gradients of a tied table need not be apart on one rank', async () => {
    const run = await train(config, noParallelism, 1);
    for (const axes of [{ tensor: 2 }, { pipeline: 2 }])
      expect(await train(config, { ...noParallelism, ...axes }, 1)).toEqual(run);
  });

  it.each(layouts.map((layout) => [nameOf(layout), layout] as const))('%s', async (_layout, parallelism) => {
    expect(await train(config, parallelism)).toEqual(alone);
  });
});
