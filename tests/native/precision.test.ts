// Training with precision bf16: the same bits whatever computes them, and losses far nearer to those of f32 than other seeds give.
import { rm } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newModelConfig } from '#runtime/model/main.ts';
import type { ModelConfig } from '#runtime/model/main.ts';
import { noParallelism } from '#runtime/parallel/main.ts';
import type { Parallelism } from '#runtime/parallel/main.ts';
import { newFolder, readMetrics, runRank, startRank, tinyJob, weightsDigest } from './rank.ts';
import { digestOf, stepAll, testBatch, withRanks } from './ranks.ts';
import { itIsTheSameForAll, twoJobs } from './same-result.ts';
import type { JobChange } from './same-result.ts';

const folders: string[] = [];
afterAll(async () => {
  for (const folder of folders) await rm(folder, { recursive: true });
});

describe.each(twoJobs)('fifty steps of %s in bf16', (_name, model) => {
  async function newJob(change: JobChange): Promise<[folder: string, spec: object]> {
    const folder = await newFolder();
    folders.push(folder);
    return [folder, tinyJob(folder, { ...model, precision: 'bf16', ...change })];
  }

  async function train(change: JobChange = {}, env: Record<string, string> = {}) {
    const [folder, spec] = await newJob(change);
    const digest = await weightsDigest(folder, await runRank(folder, spec, env));
    const losses = (await readMetrics(folder)).flatMap((line) => line['train/loss'] ?? []);
    return { digest, losses };
  }

  let plain: Awaited<ReturnType<typeof train>>;
  beforeAll(async () => {
    plain = await train();
  });

  itIsTheSameForAll(train, () => plain);

  it('a rank that is killed goes on from its checkpoint to the same weights', async () => {
    const [folder, spec] = await newJob({});
    const rank = startRank(folder, spec);
    await rank.saves(20);
    rank.child.kill('SIGKILL');
    await rank.ended;
    const end = await runRank(folder, spec);
    expect(end.log).toContain('"msg":"resumed"');
    expect(await weightsDigest(folder, end)).toBe(plain.digest);
  });

  it('a checkpoint of f32 is not taken up in bf16', async () => {
    const [folder, spec] = await newJob({ precision: 'f32', steps: 20 });
    await runRank(folder, spec);
    const end = await runRank(folder, { ...spec, precision: 'bf16' });
    expect(end.failure?.code, end.log).toBe('WL_CHECKPOINT_MISMATCH');
  });

  it('the losses are others than those of f32, by less than a tenth of what another seed makes', async () => {
    const f32 = await train({ precision: 'f32' });
    const seeds = await Promise.all([1, 2].map((seed) => train({ precision: 'f32', task: { seed } })));
    const distance = (losses: readonly number[]) => Math.sqrt(mean(losses.map((loss, at) => (loss - f32.losses[at]!) ** 2)));
    expect(plain.losses).toHaveLength(50);
    expect(plain.losses).not.toEqual(f32.losses);
    expect(distance(plain.losses)).toBeLessThan(Math.min(...seeds.map(({ losses }) => distance(losses))) / 10);
    // A curve that stays flat would be near to nothing that learns.
    expect(mean(plain.losses.slice(-10))).toBeLessThan(mean(plain.losses.slice(0, 10)));
  });
});

const batch = { sequences: 4, length: 16, grains: 4 };
const optimizer = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1, clipNorm: 0.5 };
const size = { hiddenSize: 32, layers: 3, heads: 4, intermediateSize: 64 };
const surroundings = { vocabularySize: 131, trainingLength: batch.length };
const models: readonly (readonly [string, ModelConfig])[] = [
  ['gpt2 with dropout and a tied head', newModelConfig('gpt2', { ...size, dropout: 0.1 }, surroundings)],
  ['llama with its own head', newModelConfig('llama', { ...size, kvHeads: 2, tieEmbeddings: false }, surroundings)],
  ['bloom', newModelConfig('bloom', size, surroundings)],
  ['opt', newModelConfig('opt', size, surroundings)],
  ['qwen3', newModelConfig('qwen3', { ...size, kvHeads: 2, headSize: 16 }, surroundings)],
  ['gemma3', newModelConfig('gemma3', { ...size, kvHeads: 2, window: 5 }, surroundings)],
  ['mixtral', newModelConfig('mixtral', { ...size, kvHeads: 2, experts: 4 }, surroundings)],
];

const anywhere: readonly Partial<Parallelism>[] = [
  { dataReplicate: 2 },
  { dataShard: 2 },
  { dataShard: 2, zero: 1 },
  { pipeline: 2, dataShard: 2, schedule: 'zb1p' },
];
const withTensors: readonly Partial<Parallelism>[] = [
  { tensor: 2 },
  { tensor: 2, sequenceParallel: true },
  { tensor: 2, dataShard: 2, pipeline: 2, schedule: '1f1b' },
];

async function train(config: ModelConfig, axes: Partial<Parallelism>, precision: 'f32' | 'bf16' = 'bf16') {
  const setting = { config, batch, seed: 3, recompute: 'none', precision, optimizer } as const;
  return await withRanks({ ...noParallelism, ...axes }, setting, async (ranks) => {
    const losses: number[] = [];
    for (let step = 1; step <= 4; step += 1) {
      const [result] = await stepAll(ranks, testBatch(batch, config, step), step, 0.01);
      losses.push(result!.loss);
    }
    return { digest: await digestOf(ranks), losses };
  });
}

describe.each(models)('%s in bf16', (_name, config) => {
  it('has the weights and losses of one rank in every layout, and others than in f32', async () => {
    const alone = await train(config, {});
    expect(alone.digest).not.toBe((await train(config, {}, 'f32')).digest);
    for (const axes of config.mixture ? anywhere : [...anywhere, ...withTensors]) {
      expect(await train(config, axes), JSON.stringify(axes)).toEqual(alone);
    }
  });
});

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
