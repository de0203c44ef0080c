// Ranks as processes, over shared memory and over TCP: the bits of one rank, and the memory and traffic that the plan computes.
import { beforeAll, describe, expect, it } from 'vitest';
import { newModelConfig } from '#runtime/model/main.ts';
import { noParallelism } from '#runtime/parallel/main.ts';
import type { Parallelism } from '#runtime/parallel/main.ts';
import { planJob } from '#runtime/parallel/plan/plan.ts';
import { runProcesses } from './process-ranks.ts';

const optimizer = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1, clipNorm: 0.5 };
const batch = { sequences: 8, length: 64, grains: 4 };
const size = { hiddenSize: 128, layers: 4, heads: 8 };
const config = newModelConfig('gpt2', { ...size, dropout: 0.1 }, { vocabularySize: 1030, trainingLength: batch.length });
const setting = { config, batch, seed: 3, recompute: 'none', optimizer } as const;
const steps = 3;

const layouts: readonly Partial<Parallelism>[] = [
  { dataReplicate: 2 },
  { dataShard: 2, zero: 1 },
  { dataShard: 4, zero: 2 },
  { dataShard: 2, zero: 3 },
  { dataShard: 2, zero: 3, reshardAfterForward: false },
  { dataReplicate: 2, dataShard: 2 },
  { tensor: 2 },
  { tensor: 4, sequenceParallel: true },
  { pipeline: 2 },
  { pipeline: 2, schedule: 'zb1p', dataShard: 2 },
  { pipeline: 2, schedule: 'zbv', stagesPerRank: 2 },
  { pipeline: 2, tensor: 2, sequenceParallel: true, schedule: 'gpipe' },
];

const nameOf = (layout: Partial<Parallelism>) => JSON.stringify(layout).replaceAll('"', '');

describe.each(['shm', 'tcp'] as const)('over %s', (transport) => {
  let alone: { digest: string | undefined; losses: number[] };
  beforeAll(async () => {
    const [outcome] = await runProcesses({ parallelism: noParallelism, setting, steps });
    alone = { digest: outcome!.digest, losses: outcome!.losses };
  });

  it.each(layouts.map((layout) => [nameOf(layout), layout] as const))('%s trains the bits of one rank', async (_, layout) => {
    const outcomes = await runProcesses({ parallelism: { ...noParallelism, ...layout }, setting, steps, transport });
    expect(outcomes.map((outcome) => outcome?.error)).toEqual(outcomes.map(() => undefined));
    expect(outcomes.map((outcome) => outcome?.losses)).toEqual(outcomes.map(() => alone.losses));
    expect(outcomes[0]?.digest).toBe(alone.digest);
  });
});

describe('the plan', () => {
  it.each(layouts.map((layout) => [nameOf(layout), layout] as const))('%s', async (_, layout) => {
    const parallelism = { ...noParallelism, ...layout };
    const plan = planJob({ model: config, batch, parallelism, recompute: 'none' });
    const outcomes = await runProcesses({ parallelism, setting, steps });
    for (const { rank, sent, memory } of plan.ranks) {
      const outcome = outcomes[rank]!;
      const bytes = Object.values(sent).reduce((sum, each) => sum + each, 0);
      console.log(
        _,
        rank,
        'sent',
        outcome.bytesSent / bytes,
        'peak',
        outcome.peakBytes / (memory.weights + memory.gradients + memory.moments + memory.activations),
        memory,
        outcome.stateBytes,
        outcome.peakBytes,
      );
    }
  });
});
