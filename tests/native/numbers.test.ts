// Numbers that can not be: NaN, spikes and flipped bits on one rank are found, decided by all ranks together, and undone without a trace.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Faults } from '#crds/v1alpha1/faults.ts';
import { Pretrain } from '#crds/v1alpha1/pretrain.ts';
import { newModelConfig } from '#runtime/model/main.ts';
import { noParallelism } from '#runtime/parallel/main.ts';
import type { Batch, Parallelism } from '#runtime/parallel/main.ts';
import { noMetrics, openMetrics } from '#runtime/train/metrics.ts';
import { pretrain } from '#runtime/train/pretrain.ts';
import { ProgressReporter } from '#runtime/train/progress.ts';
import { MemoryWatch } from '#runtime/train/memory-watch.ts';
import { listCheckpoints } from '#runtime/checkpoint/folders.ts';
import { Checkpointer, shardsOf } from '#runtime/train/snapshot.ts';
import { initialWeights } from '#runtime/train/trainer.ts';
import { readMetrics } from './rank.ts';
import { digestOf, testBatch, withRanks } from './ranks.ts';
import type { Setting, TestRank } from './ranks.ts';

const [steps, faultStep] = [12, 8];
const batch = { sequences: 4, length: 16, grains: 4 };
const config = newModelConfig(
  'gpt2',
  { hiddenSize: 32, layers: 2, heads: 4, dropout: 0.1 },
  { vocabularySize: 131, trainingLength: batch.length },
);
const task = Pretrain.parse({ steps, batch, seed: 3, optimizer: { learningRate: 1e-3, warmupSteps: 2 } });
const setting: Setting = { config, batch, seed: task.seed, recompute: 'none', optimizer: task.optimizer };
const spike = (action: string) => ({ gradientSpike: { factor: 3, action } });

const ordinary = (step: number) => testBatch(batch, config, step);

let root: string;
let undisturbed: Outcome;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'wl-numbers-'));
  undisturbed = await train('undisturbed', {});
});
afterAll(() => rm(root, { recursive: true }));

type Before = (rank: TestRank, step: number, time: number) => void | Promise<void>;

interface Training {
  readonly parallelism?: Partial<Parallelism>;
  readonly faults?: object;
  /** What goes wrong before a step of a rank; `time` counts how often this step is tried. */
  readonly before?: Before | undefined;
  readonly batchAt?: (step: number) => Batch;
}

interface Outcome {
  /** Of the weights in the end; absent if the ranks failed. */
  readonly digest?: string;
  /** What each rank failed with. */
  readonly errors: (string | undefined)[];
  /** What rank 0 said of steps that were left out or undone. */
  readonly setbacks: string[];
  readonly losses: [step: number, loss: number][];
}

/** The training loop of the product on ranks of this process, with a checkpoint every three steps. */
async function train(name: string, { parallelism = {}, faults = {}, before, batchAt = ordinary }: Training): Promise<Outcome> {
  const jobDir = join(root, name, 'job');
  const setbacks: string[] = [];
  return await withRanks({ ...noParallelism, ...parallelism }, setting, async (ranks) => {
    const trainings = ranks.map(async (rank) => await trainRank(rank, { jobDir, faults, batchAt, before, setbacks }));
    const errors = (await Promise.allSettled(trainings)).map((result) =>
      result.status === 'rejected' ? `${result.reason.code}: ${result.reason.message}` : undefined,
    );
    const lines = (await readMetrics(join(root, name))).flatMap((line): [number, number][] => [
      [line['step']!, line['train/loss']!],
    ]);
    const hasFailed = errors.some((error) => error !== undefined);
    return { errors, setbacks, losses: lines, ...(hasFailed ? {} : { digest: await digestOf(ranks) }) };
  });
}

interface RankTraining {
  readonly jobDir: string;
  readonly faults: object;
  readonly batchAt: (step: number) => Batch;
  readonly before: Before | undefined;
  readonly setbacks: string[];
}

async function trainRank(rank: TestRank, { jobDir, faults, batchAt, before, setbacks }: RankTraining): Promise<void> {
  const { trainer, mesh, device } = rank;
  const { execution } = trainer;
  const onTrouble = (error: Error) => {
    throw error;
  };
  const exchange = mesh.checkpointExchange;
  const checkpointer = new Checkpointer(shardsOf(execution.pieces), {
    jobDir,
    keep: 2,
    configDigest: '',
    onSaved: () => {},
    onFailed: onTrouble,
    ...(exchange && { exchange }),
  });
  const metrics =
    mesh.rank === 0 ? await openMetrics({ folder: jobDir, resumeStep: 0, now: () => new Date(), onTrouble }) : noMetrics;
  const times = new Map<number, number>();
  const begin = { step: 0, seed: task.seed, sequences: 0, tokens: 0, evaluationsSinceBest: 0 };
  const training = pretrain(
    {
      trainer,
      task,
      faults: Faults.parse(faults),
      checkpointEverySteps: 3,
      batchAt,
      heldOut: () => [],
      generate: async () => undefined,
      checkpointer,
      rollBack: async () => {
        await checkpointer.finished();
        const state = await checkpointer.restore(onTrouble);
        if (state) execution.weightsChanged();
        else await trainer.load(initialWeights(config, task.seed, device));
        return state ?? begin;
      },
      metrics,
      progress: new ProgressReporter({ steps, tokensPerStep: 64, send: () => {}, now: () => performance.now() }),
      peakShare: () => 0,
      mayStart: async (step) => {
        const time = (times.get(step) ?? 0) + 1;
        times.set(step, time);
        await before?.(rank, step, time);
        return true;
      },
      memoryWatch: Faults.parse(faults).checkGradientsEverySteps ? new MemoryWatch(execution.pieces, mesh.exchange) : undefined,
      onSetback: ({ code, message }, words) => void (mesh.rank === 0 && setbacks.push(`${code}: ${message}: ${words}`)),
      onStep: () => {},
    },
    begin,
  );
  const finished = () => checkpointer.finished();
  await training.then(finished, finished);
  await metrics.close();
  await training;
}

/** Changes the first number of the last vector that the rank updates, before its next step. Returns the name of the parameter. */
async function spoil({ trainer }: TestRank, kind: 'weight' | 'first', change: (value: number) => number): Promise<string> {
  const state = trainer.execution.pieces.findLast(({ piece }) => piece.entry.spec.shape.length === 1)!;
  const [value] = await state[kind].read();
  state[kind].write(new Float32Array([change(value!)]), 0);
  // Weights are gathered on a stream that knows nothing of this write.
  await state[kind].read();
  return state.piece.entry.spec.name;
}

/** Flips a low bit of a float32: too small a change for any loss to show, large enough to outlast the next updates. */
function flipBit(value: number): number {
  const bits = new Int32Array(new Float32Array([value]).buffer);
  bits[0]! ^= 256;
  return new Float32Array(bits.buffer)[0]!;
}

const layouts: readonly Partial<Parallelism>[] = [
  {},
  { dataReplicate: 4 },
  { dataShard: 4 },
  { dataReplicate: 2, tensor: 2 },
  { pipeline: 2, dataShard: 2 },
];
const cases = layouts.map((layout) => [JSON.stringify(layout).replaceAll('"', ''), layout] as const);
const worldOf = (layout: Partial<Parallelism>) =>
  Object.values(layout).reduce<number>((product, size) => product * Number(size), 1);
const onAll = <T>(layout: Partial<Parallelism>, value: T): T[] => Array.from({ length: worldOf(layout) }, () => value);
const isLast = ({ mesh }: TestRank) => mesh.rank === mesh.layout.world - 1;

/** One rank's memory is spoiled before a step, once or whenever it is tried. */
const spoiling =
  (change: (value: number) => number, how: 'once' | 'always'): Before =>
  async (rank, step, time) => {
    if (isLast(rank) && step === faultStep && (how === 'always' || time === 1)) await spoil(rank, 'weight', change);
  };
const allSteps = Array.from({ length: steps }, (_, index) => index + 1);

it.each(cases)('a NaN on one rank stops all ranks at the same step, which they name: %s', async (name, parallelism) => {
  const { errors } = await train(`stop ${name}`, { parallelism, before: spoiling(() => NaN, 'always') });
  expect(errors).toEqual(onAll(parallelism, 'WL_LOSS_NOT_FINITE: the loss became NaN at step 8'));
});

it.each(cases)('a NaN on one rank is undone by all ranks together, and leaves no trace: %s', async (name, parallelism) => {
  const faults = { nonFinite: 'rollback' };
  const { errors, setbacks, digest, losses } = await train(`back ${name}`, {
    parallelism,
    faults,
    before: spoiling(() => NaN, 'once'),
  });
  expect(errors).toEqual(onAll(parallelism, undefined));
  expect(setbacks).toEqual(['WL_LOSS_NOT_FINITE: the loss became NaN at step 8: going back to the newest checkpoint']);
  expect(digest).toBe(undisturbed.digest);
  expect(
    losses.map(([step]) => step),
    'every step stands once in the metrics',
  ).toEqual(allSteps);
  expect(losses).toEqual(undisturbed.losses);
});

it('a NaN before the first checkpoint leads back to the beginning', async () => {
  const parallelism = { dataReplicate: 2, tensor: 2 };
  const before: Before = async (rank, step, time) => {
    if (isLast(rank) && step === 2 && time === 1) await spoil(rank, 'weight', () => NaN);
  };
  const { digest, losses } = await train('beginning', { parallelism, faults: { nonFinite: 'rollback' }, before });
  expect([digest, losses]).toEqual([undisturbed.digest, undisturbed.losses]);
});

it.each(cases)('a NaN that comes again at the same step fails the job: %s', async (name, parallelism) => {
  const faults = { nonFinite: 'rollback' };
  const { errors, setbacks } = await train(`again ${name}`, { parallelism, faults, before: spoiling(() => NaN, 'always') });
  expect(setbacks).toHaveLength(1);
  expect(errors).toEqual(onAll(parallelism, 'WL_LOSS_NOT_FINITE: the loss became NaN at step 8'));
});

it.each(cases)('a spike that one rank causes is undone by all ranks together: %s', async (name, parallelism) => {
  const { setbacks, digest, losses } = await train(`spike ${name}`, {
    parallelism,
    faults: spike('rollback'),
    before: spoiling((value) => value + 1e4, 'once'),
  });
  expect(setbacks).toEqual([
    expect.stringMatching(/^WL_GRADIENT_SPIKE: the gradient norm is \d\S* at step 8, more than 3 times/),
  ]);
  expect([digest, losses]).toEqual([undisturbed.digest, undisturbed.losses]);
});

describe('a spike in the data', () => {
  /** One token that counts, where there were sixty: the noise of its gradient is not averaged out. */
  const batchAt = (step: number): Batch => {
    const { inputs, targets } = ordinary(step);
    return step + 1 === faultStep
      ? { inputs, targets: targets.map((target, at) => (at === 9 ? target : -1)) }
      : { inputs, targets };
  };
  let alone: Outcome;
  beforeAll(async () => {
    alone = await train('skip alone', { faults: spike('skip'), batchAt });
  });

  it.each(cases.slice(1))('is left out alike in every layout: %s', async (name, parallelism) => {
    const outcome = await train(`skip ${name}`, { parallelism, faults: spike('skip'), batchAt });
    expect(outcome.setbacks).toEqual([expect.stringMatching(/at step 8, .*: the update of this step is left out$/)]);
    expect(outcome).toEqual({ ...alone, errors: onAll(parallelism, undefined) });
  });

  it('changes no weight when it is left out', async () => {
    const digests: string[] = [];
    const digestAt = async (at: number) => {
      const before: Before = async (rank, step) => {
        if (step === at) digests.push(await digestOf([rank]));
      };
      await train(`skip at ${at}`, { faults: spike('skip'), batchAt, before });
    };
    for (const step of [faultStep - 1, faultStep, faultStep + 1]) await digestAt(step);
    const [before, at, after] = digests;
    expect(at).not.toBe(before);
    expect(after).toBe(at);
  });

  it.each(cases)('fails the job where it is to stop, and where going back does not help: %s', async (name, parallelism) => {
    const expected = onAll(parallelism, expect.stringMatching(/^WL_GRADIENT_SPIKE: .* at step 8/) as string);
    const stopped = await train(`spike stops ${name}`, { parallelism, faults: spike('stop'), batchAt });
    expect([stopped.errors, stopped.setbacks]).toEqual([expected, []]);
    const undone = await train(`spike again ${name}`, { parallelism, faults: spike('rollback'), batchAt });
    expect([undone.errors, undone.setbacks.length]).toEqual([expected, 1]);
  });
});

it.each([
  ['weight', { dataReplicate: 4 }, 'rank 3 differs from ranks 0, 1, 2'],
  ['first', { dataReplicate: 4 }, 'rank 3 differs from ranks 0, 1, 2'],
  ['weight', { dataReplicate: 2, tensor: 2 }, 'rank 3 differs from ranks 0, 1, 2'],
  ['weight', { dataReplicate: 2, dataShard: 2 }, 'rank 1 and rank 3 differ'],
  ['weight', { pipeline: 2, dataReplicate: 2 }, 'rank 2 and rank 3 differ'],
] as const)(
  'a flipped bit of a %s on one rank is found within the steps asked for, with rank and parameter: %o',
  async (kind, parallelism, words) => {
    let name = '';
    const before: Before = async (rank, step) => {
      if (isLast(rank) && step === 5) name = await spoil(rank, kind, flipBit);
    };
    const faults = { checkGradientsEverySteps: 2 };
    const { errors } = await train(`flip ${kind} ${JSON.stringify(parallelism)}`, { parallelism, faults, before });
    const [message] = errors;
    expect(errors).toEqual(onAll(parallelism, message));
    expect(message).toContain(`WL_REPLICAS_DIFFER: after step 6: ${words} in ${name}[`);
  },
);

it.each([
  ['weight', { dataShard: 4 }, 3],
  ['first', { dataShard: 4 }, 3],
  ['weight', { pipeline: 2, dataShard: 2 }, 3],
  ['weight', { dataReplicate: 1 }, 0],
] as const)(
  'a flipped bit of a %s that one rank alone holds is found by itself, told by all, and in no checkpoint: %o',
  async (kind, parallelism, rank) => {
    let name = '';
    const before: Before = async (rank, step) => {
      if (isLast(rank) && step === 5) name = await spoil(rank, kind, flipBit);
    };
    // Seldom: the checkpoint of step 6 must not be saved of what the rank holds.
    const faults = { checkGradientsEverySteps: 1000 };
    const folder = `alone ${kind} ${JSON.stringify(parallelism)}`;
    const { errors } = await train(folder, { parallelism, faults, before });
    const [message] = errors;
    expect(errors).toEqual(onAll(parallelism, message));
    expect(message).toContain(
      `WL_MEMORY_CHANGED: after step 6: rank ${rank} finds that its memory changed by itself in ${name}[`,
    );
    expect((await listCheckpoints(join(root, folder, 'job', 'checkpoints'))).map(({ step }) => step)).toEqual([3]);
  },
);

it('finds no difference where there is none', async () => {
  for (const [name, parallelism] of cases) {
    const { errors, digest } = await train(`sound ${name}`, { parallelism, faults: { checkGradientsEverySteps: 1 } });
    expect(errors).toEqual(onAll(parallelism, undefined));
    expect(digest).toBe(undisturbed.digest);
  }
});
