// A schedule and a cut of the user's own, written into a manifest, change nothing of what is trained.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import type { TrainingJobSpec } from '#crds/v1alpha1/training-job.ts';
import { readManifests } from '#operator/kube/manifest.ts';
import { isWindlassError } from '#runtime/api/errors.ts';
import { noParallelism } from '#runtime/parallel/main.ts';
import { planRequestOf } from '#runtime/train/plan-request.ts';
import type { RankTrace } from '#runtime/parallel/trace/chrome.ts';
import { traceFileName } from '#runtime/parallel/trace/chrome.ts';
import { plan } from '../../bin/plan/command.ts';
import type { PlanOptions } from '../../bin/plan/command.ts';
import { newFolder, runRank, tinyJob } from './rank.ts';
import { randomSchedules } from './random-schedule.ts';
import { digestOf, stepAll, testBatch, withRanks } from './ranks.ts';
import type { Setting } from './ranks.ts';

const steps = 4;
const optimizer = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1, clipNorm: 0.5 };

/** A job of a tiny GPT-2 with a tied head and dropout: 8 sequences in `grains` grains. */
function manifestOf(parallelism: object, grains: number): string {
  const size = { hiddenSize: 32, layers: 6, heads: 8, intermediateSize: 128, dropout: 0.1 };
  return stringify({
    apiVersion: 'windlass.dev/v1alpha1',
    kind: 'TrainingJob',
    metadata: { name: 'own' },
    spec: {
      model: { family: 'gpt2', config: size },
      data: { uri: 'sample://moby-dick', tokenizer: { train: { vocabularySize: 259 } } },
      parallelism,
      task: { pretrain: { steps, batch: { sequences: 8, length: 16, grains } } },
      output: { model: 'own' },
    },
  });
}

interface Ways {
  /** By one rank, whatever the manifest says. */
  readonly alone?: boolean;
  /** Takes what each rank measured in all steps but the first. */
  readonly traceInto?: (rank: number, trace: RankTrace) => Promise<void>;
}

/** sha256 of the weights after some steps of the manifest's job. */
async function trainedBy(manifest: string, { alone = false, traceInto }: Ways = {}): Promise<string> {
  const { objects, faults } = readManifests(manifest, 'job.yaml');
  expect(faults).toEqual([]);
  const { model: config, batch, parallelism } = await planRequestOf(objects[0]!.object.spec as TrainingJobSpec);
  const setting: Setting = { config, batch, seed: 3, recompute: 'none', optimizer };
  return await withRanks(alone ? noParallelism : parallelism, setting, async (ranks) => {
    for (let step = 1; step <= steps; step += 1) {
      if (traceInto && step > 1) for (const { recorder } of ranks) recorder.start(step);
      await stepAll(ranks, testBatch(batch, config, step), step, 0.01);
      for (const { recorder } of ranks) recorder.stop();
    }
    await Promise.all(ranks.map(({ trainer }) => trainer.execution.settled()));
    for (const { recorder, mesh } of ranks) await traceInto?.(mesh.rank, await recorder.read());
    return await digestOf(ranks);
  });
}

let folder: string;
const expected = new Map<number, string>();
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wl-own-'));
  for (const grains of [4, 8]) expected.set(grains, await trainedBy(manifestOf({}, grains), { alone: true }));
});
afterAll(() => rm(folder, { recursive: true }));

/** What `windlass plan` prints. */
async function planned(manifest: string, options: Partial<PlanOptions>): Promise<string> {
  const file = join(folder, 'job.yaml');
  await writeFile(file, manifest);
  let text = '';
  const write = (part: string) => void (text += part);
  const nothing = { svg: undefined, trace: undefined, scheduleCsv: undefined, schedule: false, output: 'text' } as const;
  await plan({ ...nothing, files: [file], write, ...options });
  return text;
}

const exported = (manifest: string) => planned(manifest, { output: 'csv' });

describe('an exported schedule trains the same bits when it is imported', () => {
  it.each([
    ['gpipe', 3],
    ['1f1b', 3],
    ['interleaved', 2],
    ['zb1p', 3],
    ['zbv', 2],
    ['dualpipev', 2],
  ])('%s on %i ranks', async (schedule, pipeline) => {
    const scheduleCsv = await exported(manifestOf({ pipeline, schedule }, 8));
    expect(scheduleCsv).toContain(`# name: ${schedule}\n`);
    const imported = manifestOf({ pipeline, schedule: 'csv', scheduleCsv }, 8);
    expect(await exported(imported)).toBe(scheduleCsv);
    expect(await trainedBy(imported)).toBe(expected.get(8));
  });
});

describe('a schedule written by hand trains the same bits', () => {
  it.each<[string, { lines: string[]; grains?: number; more?: object }]>([
    [
      '1F1B that warms up longer',
      {
        lines: ['F0.0,F0.1,F0.2,B0.0,F0.3,B0.1,B0.2,B0.3', 'F1.0,F1.1,B1.0,F1.2,B1.1,F1.3,B1.2,B1.3'],
      },
    ],
    [
      'gradients of weights at the end, on some grains only',
      {
        lines: ['F0.0,F0.1,F0.2,F0.3,B0.0,I0.1,I0.2,I0.3,W0.1,W0.2,W0.3', 'F1.0,I1.0,F1.1,I1.1,W1.0,W1.1,F1.2,B1.2,F1.3,B1.3'],
      },
    ],
    [
      'sends that come late and receives that come early',
      {
        lines: [
          'F0.0,F0.1,SF0.0,SF0.1,F0.2,SF0.2,F0.3,SF0.3,RB0.0,RB0.1,B0.0,B0.1,RB0.2,B0.2,RB0.3,B0.3',
          'RF1.0,RF1.1,F1.0,RF1.2,B1.0,F1.1,SB1.0,B1.1,SB1.1,F1.2,B1.2,RF1.3,SB1.2,F1.3,B1.3,SB1.3',
        ],
      },
    ],
    [
      'three stages on one rank and one on the other, which has no layers but one',
      {
        lines: [
          'F0.0,F1.0,F0.1,F1.1,F3.0,B3.0,F3.1,B3.1,B1.0,B0.0,B1.1,B0.1,F0.2,F1.2,F0.3,F1.3,F3.2,B3.2,F3.3,B3.3,B1.2,B1.3,B0.2,B0.3',
          'F2.0,F2.1,B2.0,B2.1,F2.2,F2.3,B2.2,B2.3',
        ],
        more: { stageLayers: [0, 5, 1, 0] },
      },
    ],
    [
      'on ranks that share weights and matrices',
      {
        grains: 8,
        lines: ['F0.0,F0.1,F0.2,B0.0,F0.3,B0.1,B0.2,B0.3', 'F1.0,F1.1,B1.0,F1.2,B1.1,F1.3,B1.2,B1.3'],
        more: { dataShard: 2, tensor: 2 },
      },
    ],
    [
      'with weights that are gathered early and given back late, and gradients that are added up last',
      {
        grains: 8,
        lines: [
          'UNSHARD0,F0.0,F0.1,RESHARD0,UNSHARD0,F0.2,F0.3,B0.0,B0.1,RESHARD0,UNSHARD0,I0.2,I0.3,RESHARD0,W0.2,W0.3,REDUCE0',
          'UNSHARD1,F1.0,B1.0,F1.1,B1.1,F1.2,F1.3,B1.2,B1.3,REDUCE1,RESHARD1',
        ],
        more: { dataShard: 2 },
      },
    ],
    [
      'with two stages on each rank, whose weights come and go in an order of their own',
      {
        grains: 8,
        lines: [
          'UNSHARD0,UNSHARD2,F0.0,F0.1,RESHARD0,F2.0,F2.1,B2.0,B2.1,UNSHARD0,F0.2,F0.3,F2.2,F2.3,B2.2,B2.3,RESHARD2,B0.0,B0.1,B0.2,B0.3,REDUCE2,RESHARD0,REDUCE0',
          'UNSHARD1,F1.0,F1.1,UNSHARD3,F3.0,F3.1,RESHARD1,B3.0,B3.1,RESHARD3,UNSHARD1,F1.2,F1.3,UNSHARD3,F3.2,F3.3,B3.2,B3.3,REDUCE3,RESHARD3,B1.0,B1.1,B1.2,B1.3,RESHARD1,REDUCE1',
        ],
        more: { dataShard: 2 },
      },
    ],
    [
      'with gradients of each grain that are added up later',
      {
        grains: 8,
        lines: [
          'UNSHARD0,F0.0,F0.1,B0.0,F0.2,REDUCE0.0,B0.1,REDUCE0.1,F0.3,B0.2,REDUCE0.2,I0.3,RESHARD0,W0.3,REDUCE0.3',
          'UNSHARD1,F1.0,B1.0,F1.1,REDUCE1.0,B1.1,REDUCE1.1,F1.2,I1.2,F1.3,W1.2,REDUCE1.2,B1.3,REDUCE1.3,RESHARD1',
        ],
        more: { dataShard: 2, reduceEveryGrain: true },
      },
    ],
    [
      'with two grains at once whose gradients are added up after both',
      {
        grains: 8,
        lines: [
          'F0.0,F0.1,F0.2,F0.3,B0.0,B0.1,B0.2,B0.3,REDUCE0.0,REDUCE0.1,REDUCE0.2,REDUCE0.3',
          'F1.0,B1.0,F1.1,B1.1,REDUCE1.0,REDUCE1.1,F1.2,B1.2,F1.3,REDUCE1.2,B1.3,REDUCE1.3',
        ],
        more: { dataShard: 2, zero: 2, reduceEveryGrain: true },
      },
    ],
  ])('%s', async (_, { lines, grains = 4, more = {} }) => {
    const manifest = manifestOf({ pipeline: 2, schedule: 'csv', scheduleCsv: `${lines.join('\n')}\n`, ...more }, grains);
    expect(await trainedBy(manifest)).toBe(expected.get(grains));
  });
});

describe('a schedule in any order that works, on any placement, trains the same bits', () => {
  it.each([
    ['none', {}],
    ['none', { dataShard: 2 }],
    ['none', { dataShard: 2, zero: 2, reduceEveryGrain: true }],
    ['all grains', { dataShard: 2 }],
    ['each grain', { dataShard: 2, reduceEveryGrain: true }],
  ] as const)('with %s of its own sharding, %j', async (sharding, more: { dataShard?: number }) => {
    const grains = 8 / (more.dataShard ?? 1);
    await fc.assert(
      fc.asyncProperty(randomSchedules(grains, sharding), async ({ pipeline, csv }) => {
        expect(await trainedBy(manifestOf({ pipeline, schedule: 'csv', scheduleCsv: csv, ...more }, 8))).toBe(expected.get(8));
      }),
      { numRuns: 8 },
    );
  });
});

describe('a cut of the user trains the same bits', () => {
  it.each([
    [{ pipeline: 2, stageLayers: [0, 6] }],
    [{ pipeline: 2, stageLayers: [6, 0] }],
    [{ pipeline: 3, stageLayers: [1, 4, 1] }],
    [{ pipeline: 2, schedule: 'zbv', stageLayers: [3, 1, 2, 0] }],
    [{ pipeline: 2, schedule: 'interleaved', stageLayers: [0, 1, 4, 1], dataShard: 2 }],
  ])('%j', async (parallelism) => {
    expect(await trainedBy(manifestOf(parallelism, 8))).toBe(expected.get(8));
  });
});

it('the cut that a measured trace suggests trains the same bits', async () => {
  const jobDir = await mkdtemp(join(folder, 'job-'));
  const manifest = manifestOf({ pipeline: 2, schedule: 'zb1p', stageLayers: [0, 6] }, 8);
  await trainedBy(manifest, {
    traceInto: async (rank, trace) => await writeFile(join(jobDir, traceFileName(rank)), JSON.stringify(trace)),
  });
  const { jobs, measured } = JSON.parse(await planned(manifest, { output: 'json', trace: jobDir })) as {
    jobs: { parallelism: { stageLayers: number[] } }[];
    measured: { ranks: number; units: { name: string; forward: number; backward: number }[]; now: Cut; best: Cut };
  };
  const names = ['embedding', ...[0, 1, 2, 3, 4, 5].map((layer) => `block ${layer}`), 'head'];
  expect(measured.units.map(({ name }) => name)).toEqual(names);
  expect(measured.units.reduce((sum, { forward, backward }) => sum + forward + backward, 0)).toBeGreaterThan(0);
  expect(measured.now.stageLayers).toEqual(jobs[0]!.parallelism.stageLayers);
  const [now, best] = [measured.now, measured.best].map(({ milliseconds }) => Math.max(...milliseconds));
  expect(best).toBeLessThanOrEqual(now!);
  const { stageLayers } = measured.best;
  expect(await trainedBy(manifestOf({ pipeline: 2, schedule: 'zb1p', stageLayers }, 8))).toBe(expected.get(8));
});

interface Cut {
  stageLayers: number[];
  milliseconds: number[];
}

describe('a schedule that can not run', () => {
  const deadlock = ['# mine', 'RB0.0,F0.0,SF0.0,B0.0', 'RF1.0,F1.0,B1.0,SB1.0', ''].join('\n');
  const words =
    'spec.parallelism.scheduleCsv: deadlock: line 2, column 1 (RB0.0) waits for line 3, column 17 (SB1.0), which stands behind line 3, column 1 (RF1.0); line 3, column 1 (RF1.0) waits for line 2, column 12 (SF0.0), which stands behind line 2, column 1 (RB0.0). Move something that is waited for before what it stands behind';

  it('is refused by the plan, with the circle of those that wait', async () => {
    const refused = exported(manifestOf({ pipeline: 2, schedule: 'csv', scheduleCsv: deadlock }, 1));
    await expect(refused).rejects.toSatisfy(isWindlassError);
    await expect(refused).rejects.toThrow(words);
  });

  it('ends a rank as an error of the user, before any data is read', async () => {
    const job = await newFolder();
    try {
      const parallelism = { pipeline: 2, schedule: 'csv', scheduleCsv: deadlock };
      const spec = { ...tinyJob(job, { data: { uri: join(job, 'nothing.txt') }, batch: { grains: 1 } }), parallelism };
      const end = await runRank(job, spec);
      expect([end.code, end.failure?.code, end.failure?.message], end.log).toEqual([64, 'WL_MANIFEST_INVALID', words]);
    } finally {
      await rm(job, { recursive: true });
    }
  });
});
