import { describe, expect, test } from 'vitest';
import { newModelConfig } from '#runtime/model/families/families.ts';
import { parameterCount } from '#runtime/model/parameters.ts';
import { legalLayouts } from '../layout-choices.ts';
import { noParallelism } from '../parallelism.ts';
import type { Parallelism } from '../parallelism.ts';
import { planJob } from './plan.ts';
import type { JobPlan } from './plan.ts';

const size = { hiddenSize: 64, layers: 4, heads: 4, intermediateSize: 256 };
const surroundings = { vocabularySize: 512, trainingLength: 32 };
const untied = newModelConfig('llama', { ...size, tieEmbeddings: false }, surroundings);
const tied = newModelConfig('gpt2', size, surroundings);
const batch = { sequences: 16, length: 32, grains: 8 };
const parameters = parameterCount(untied);
/** No parameter of these models needs padding. */
const whole = 4 * parameters;

function planOf(axes: Partial<Parallelism>, model = untied): JobPlan {
  return planJob({ model, batch, parallelism: { ...noParallelism, ...axes }, recompute: 'none' });
}

/** Bytes of a block. */
function blockOf(model: typeof untied): number {
  return (4 * (parameterCount(model) - 2 * 512 * 64 - 64)) / 4;
}

describe('one rank', () => {
  const [rank] = planOf({}).ranks;

  test('holds every parameter and two moments of it, and sends nothing', () => {
    expect(rank).toMatchObject({ parameters, memory: { weights: whole, moments: 2 * whole } });
    expect(Object.values(rank!.sent)).toEqual([0, 0, 0, 0, 0, 0]);
  });

  test('adds 8 grains in a tree of 3 sums, and computes into what all units share', () => {
    const norm = 4 * 64;
    expect(rank!.memory.gradients).toBe(3 * whole + 4 * 512 * 64 + norm + blockOf(untied));
  });

  test('a tied head has a second gradient of the table, unless nothing comes between the two', () => {
    const memoryOf = (dataReplicate: number) => {
      const layout = {
        model: tied,
        batch: { ...batch, grains: dataReplicate },
        parallelism: { ...noParallelism, dataReplicate },
      };
      return planJob({ ...layout, recompute: 'none' }).ranks[0]!.memory;
    };
    expect(memoryOf(1).gradients).toBe(memoryOf(1).weights);
    expect(memoryOf(2).gradients).toBe(memoryOf(2).weights + 4 * 512 * 64);
  });
});

describe('dataShard', () => {
  const of = (axes: Partial<Parallelism>) => planOf({ dataShard: 4, ...axes }).ranks[1]!;

  test('zero 1, 2 and 3 shard the moments, and 3 the weights with room for two gathered units', () => {
    const table = 4 * 512 * 64;
    const block = (whole - 2 * table - 4 * 64) / 4;
    for (const zero of [1, 2, 3] as const) expect(of({ zero }).memory.moments).toBe(whole / 2);
    expect(of({ zero: 2 }).memory.weights).toBe(whole);
    expect(of({ zero: 3 }).memory.weights).toBe(whole / 4 + 2 * Math.max(table + 4 * 64, block));
  });

  test('gradients are shards with zero 2 and 3 once they are reduced, and after each grain if asked', () => {
    const one = { ...batch, grains: 4 };
    const held = (axes: Partial<Parallelism>, shape = one) =>
      planJob({ model: untied, batch: shape, parallelism: { ...noParallelism, dataShard: 4, ...axes }, recompute: 'none' })
        .ranks[0]!;
    const largest = 4 * 512 * 64 + 4 * 64 + blockOf(untied);
    const passing = largest + blockOf(untied);
    expect(held({ zero: 1 }).memory.gradients).toBe(whole + whole / 4);
    for (const zero of [2, 3] as const) expect(held({ zero }).memory.gradients).toBe(whole / 4 + passing);
    const many = { ...batch, grains: 16 };
    const [sums, shards] = [held({}, many), held({ reduceEveryGrain: true }, many)];
    expect(sums.memory.gradients).toBe(2 * whole + largest + whole / 4);
    expect(shards.memory.gradients).toBe(whole / 2 + largest / 4 + passing);
    expect(shards.sent.gradientReduceScatter).toBe(4 * sums.sent.gradientReduceScatter);
  });

  test('weights that neighbours keep are gathered from all shards once, and take memory', () => {
    const [all, near] = [of({}), of({ reshardWithin: 2 })];
    const first = (3 / 4) * whole;
    expect(near.sent.weightAllGather - first).toBeCloseTo((all.sent.weightAllGather - first) * (2 / 3), 6);
    expect(near.memory.weights - all.memory.weights).toBe(whole / 2);
  });

  test('gradients are scattered once per step, weights gathered once after it, or with zero 3 for the grains', () => {
    const share = (3 / 4) * whole;
    expect(of({ zero: 1 }).sent).toMatchObject({ gradientReduceScatter: share, weightAllGather: share, gradientAllReduce: 0 });
    expect(of({ zero: 3, reshardAfterForward: false }).sent).toMatchObject({
      gradientReduceScatter: share,
      weightAllGather: share,
    });
    expect(of({ zero: 3 }).sent.weightAllGather).toBeGreaterThan(2 * share);
  });

  test('replicas add their shards among themselves', () => {
    const { sent } = planOf({ dataShard: 2, dataReplicate: 2, zero: 2 }).ranks[0]!;
    expect(sent).toMatchObject({ gradientReduceScatter: whole / 2, gradientAllReduce: whole / 2 });
  });
});

describe('tensor', () => {
  test('four sums of the hidden states per block and grain, one for the embedding, one for the head, three values per token', () => {
    const tokens = 64;
    const perGrain = (4 * 4 + 2) * tokens * 64 + 3 * tokens;
    expect(planOf({ tensor: 2 }).ranks[0]!.sent.tensor).toBe(8 * perGrain * 4);
  });

  test('sequence parallelism adds the gradients of norms, and lowers activations', () => {
    const [plain, sequence] = [planOf({ tensor: 2 }), planOf({ tensor: 2, sequenceParallel: true })].map(
      ({ ranks }) => ranks[0]!,
    );
    expect(sequence!.sent.tensor - plain!.sent.tensor).toBe(8 * 9 * 64 * 4);
    expect(sequence!.memory.activations).toBeLessThan(plain!.memory.activations);
  });
});

describe('pipeline', () => {
  test('each boundary is crossed by every grain once in each direction', () => {
    const { ranks } = planOf({ pipeline: 3 });
    const crossing = 8 * 64 * 64 * 4;
    expect(ranks.map(({ sent }) => sent.pipeline)).toEqual([crossing, 2 * crossing, crossing]);
  });

  test('the middle of a V stays on its rank', () => {
    const { ranks } = planOf({ pipeline: 2, schedule: 'zbv', stagesPerRank: 2 });
    const crossing = 8 * 64 * 64 * 4;
    expect(ranks.map(({ sent }) => sent.pipeline)).toEqual([2 * crossing, 2 * crossing]);
  });

  test('a tied head on another rank has a copy of the table, whose gradients are exchanged', () => {
    const table = 4 * 512 * 64;
    const [first, last] = planOf({ pipeline: 2 }, tied).ranks;
    expect([first!.sent.tiedEmbedding, last!.sent.tiedEmbedding]).toEqual([table, table]);
    expect(first!.parameters + last!.parameters).toBe(parameterCount(tied) + 512 * 64);
    expect(planOf({ pipeline: 2, schedule: 'zbv', stagesPerRank: 2 }, tied).ranks.map(({ sent }) => sent.tiedEmbedding)).toEqual([
      0, 0,
    ]);
  });

  test('1F1B holds fewer grains towards the end, GPipe all of them', () => {
    const activations = (axes: Partial<Parallelism>) =>
      planOf({ pipeline: 2, ...axes }).ranks.map(({ memory }) => memory.activations);
    const [one, all] = [activations({}), activations({ schedule: 'gpipe' })];
    expect(one[0]! / one[1]!).toBeGreaterThan(1.2);
    expect(all[0]! / one[0]!).toBeGreaterThan(3.5);
  });
});

test('in every legal layout of 8 ranks, those of one data rank hold each parameter once, and norms in each part of a tensor group', () => {
  for (const parallelism of legalLayouts(8, untied, batch)) {
    const plan = planJob({ model: untied, batch, parallelism, recompute: 'block' });
    const norms = (4 * 2 + 1) * 64 * (parallelism.tensor - 1);
    const copy = plan.ranks.filter(({ at }) => at.data === 0);
    expect(copy.reduce((sum, rank) => sum + rank.parameters, 0)).toBe(parameters + norms);
    for (const { memory, sent } of plan.ranks) {
      for (const bytes of [...Object.values(memory), ...Object.values(sent)]) expect(bytes).toBeGreaterThanOrEqual(0);
    }
    expect(plan.bubble).toBeLessThan(1);
  }
});

test('recomputation keeps less and, in a tensor group, sends more', () => {
  const plan = (recompute: 'none' | 'block' | 'attention' | 'mlp') =>
    planJob({ model: untied, batch, parallelism: { ...noParallelism, tensor: 2 }, recompute }).ranks[0]!;
  const [none, attention, mlp, block] = (['none', 'attention', 'mlp', 'block'] as const).map(plan);
  for (const half of [attention, mlp]) {
    expect(half!.memory.activations).toBeLessThan(none!.memory.activations);
    expect(half!.memory.activations).toBeGreaterThan(block!.memory.activations);
    expect(half!.sent.tensor).toBeGreaterThan(none!.sent.tensor);
  }
});

test('a layout that is not legal is refused', () => {
  expect(() => planOf({ tensor: 8 })).toThrow(expect.objectContaining({ code: 'WL_MANIFEST_INVALID' }));
});
