// Ranks as processes, over shared memory, over TCP and through TLS: the bits of one rank, and the memory and traffic that the plan computes.
import { beforeAll, describe, expect, it } from 'vitest';
import { newModelConfig } from '#runtime/model/main.ts';
import type { Recompute } from '#runtime/model/main.ts';
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

describe.each([
  ['shm', { transport: 'shm' }],
  ['tcp', { transport: 'tcp' }],
  ['tcp through TLS', { transport: 'tcp', tls: true }],
] as const)('over %s', (_, way) => {
  let alone: { digest: string | undefined; losses: number[] };
  beforeAll(async () => {
    const [outcome] = await runProcesses({ parallelism: noParallelism, setting, steps });
    alone = { digest: outcome!.digest, losses: outcome!.losses };
  });

  it.each(layouts.map((layout) => [nameOf(layout), layout] as const))('%s trains the bits of one rank', async (_, layout) => {
    const outcomes = await runProcesses({ parallelism: { ...noParallelism, ...layout }, setting, steps, ...way });
    expect(outcomes.map((outcome) => outcome?.error)).toEqual(outcomes.map(() => undefined));
    expect(outcomes.map((outcome) => outcome?.losses)).toEqual(outcomes.map(() => alone.losses));
    expect(outcomes[0]?.digest).toBe(alone.digest);
  });
});

describe('the plan', () => {
  const shape = { sequences: 8, length: 256, grains: 4 };
  const model = newModelConfig(
    'gpt2',
    { hiddenSize: 256, layers: 4, heads: 8 },
    { vocabularySize: 2048, trainingLength: shape.length },
  );
  // tests/native/plan.test.ts holds many more layouts against the plan, tensor by tensor; here it is what a process takes from the system.
  const planned: readonly (readonly [Partial<Parallelism>, Recompute])[] = [
    [{ dataReplicate: 2 }, 'mlp'],
    [{ dataShard: 4, zero: 3 }, 'block'],
    [{ tensor: 2, sequenceParallel: true }, 'none'],
    [{ pipeline: 2, schedule: 'zbv', stagesPerRank: 2 }, 'none'],
  ];

  it.each(planned.map(([layout, recompute]) => [nameOf(layout), recompute, layout] as const))(
    'computes what each rank sends and holds: %s, recompute %s',
    async (_, recompute, layout) => {
      const parallelism = { ...noParallelism, ...layout };
      const plan = planJob({ model, batch: shape, parallelism, recompute });
      const outcomes = await runProcesses({
        parallelism,
        setting: { config: model, batch: shape, seed: 3, recompute, optimizer },
        steps: 2,
      });
      for (const { rank, sent, memory } of plan.ranks) {
        const { bytesSent, stateBytes, peakBytes, scratchBytes } = outcomes[rank]!;
        const state = memory.weights + memory.gradients + memory.moments;
        expect(bytesSent / sum(Object.values(sent)), `rank ${rank} sends`).toBeCloseTo(1, 2);
        expect(Math.abs(stateBytes / state - 1), `rank ${rank} keeps ${stateBytes} bytes`).toBeLessThan(0.01);
        // Beside the plan: scratch of kernels, and what the allocator rounds up.
        const peak = peakBytes - scratchBytes;
        expect(Math.abs(peak / (state + memory.activations) - 1), `rank ${rank} needs ${peak} bytes`).toBeLessThan(0.05);
      }
    },
  );
});

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
