// Every family trains to the same weights, bit for bit, on one rank and cut over tensors, positions, shards and stages.
import { describe, expect, it } from 'vitest';
import { newModelConfig } from '#runtime/model/main.ts';
import type { ModelConfig } from '#runtime/model/main.ts';
import { noParallelism } from '#runtime/parallel/main.ts';
import type { Parallelism } from '#runtime/parallel/main.ts';
import { digestOf, stepAll, testBatch, withRanks } from './ranks.ts';

const steps = 4;
const batch = { sequences: 4, length: 16, grains: 4 };
const optimizer = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1, clipNorm: 0.5 };
const size = { hiddenSize: 32, layers: 3, heads: 4 };
const grouped = { ...size, kvHeads: 2, intermediateSize: 64 };
const surroundings = { vocabularySize: 131, trainingLength: batch.length };

const models: readonly (readonly [string, ModelConfig])[] = [
  ['gpt1 with dropout', newModelConfig('gpt1', { ...size, dropout: 0.1 }, surroundings)],
  ['gpt3', newModelConfig('gpt3', { ...size, window: 5 }, surroundings)],
  ['opt with dropout', newModelConfig('opt', { ...size, dropout: 0.1 }, surroundings)],
  ['bloom', newModelConfig('bloom', size, surroundings)],
  ['qwen2', newModelConfig('qwen2', grouped, surroundings)],
  ['qwen3', newModelConfig('qwen3', { ...grouped, headSize: 16 }, surroundings)],
  ['mistral', newModelConfig('mistral', { ...grouped, window: 5, tieEmbeddings: false }, surroundings)],
  ['gemma3', newModelConfig('gemma3', { ...grouped, window: 5 }, surroundings)],
  ['mixtral', newModelConfig('mixtral', { ...grouped, experts: 4 }, surroundings)],
];

const anywhere: readonly Partial<Parallelism>[] = [
  { dataReplicate: 2 },
  { dataShard: 2 },
  { pipeline: 2, schedule: '1f1b' },
  { pipeline: 2, dataShard: 2, schedule: 'zb1p' },
];
const withTensors: readonly Partial<Parallelism>[] = [
  { tensor: 2 },
  { tensor: 2, sequenceParallel: true },
  { tensor: 2, dataShard: 2, pipeline: 2, schedule: '1f1b' },
];

async function train(config: ModelConfig, axes: Partial<Parallelism>) {
  const setting = { config, batch, seed: 3, recompute: 'none', optimizer } as const;
  return await withRanks({ ...noParallelism, ...axes }, setting, async (ranks) => {
    const losses: number[] = [];
    for (let step = 1; step <= steps; step += 1) {
      const [result] = await stepAll(ranks, testBatch(batch, config, step), step, 0.01);
      losses.push(result!.loss);
    }
    return { digest: await digestOf(ranks), losses };
  });
}

describe.each(models)('%s', (_name, config) => {
  it('has the weights and losses of one rank in every layout', async () => {
    const alone = await train(config, {});
    expect(new Set(alone.losses).size).toBe(steps);
    for (const axes of config.mixture ? anywhere : [...anywhere, ...withTensors]) {
      expect(await train(config, axes), JSON.stringify(axes)).toEqual(alone);
    }
  });
});

it('a mixture is refused where its experts would be split', async () => {
  const [, mixtral] = models.at(-1)!;
  await expect(train(mixtral, { tensor: 2 })).rejects.toThrow(
    "spec.parallelism.tensor: is 2, but the 4 experts of a mixture can't be split. 1 would fit",
  );
});
