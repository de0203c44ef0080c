import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isWindlassError } from '#runtime/api/errors.ts';
import { plan } from './command.ts';
import type { PlanOptions } from './command.ts';
import { buildSchedule, simulate } from '#runtime/parallel/schedule/main.ts';
import { traceFileName } from '#runtime/parallel/trace/chrome.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'plan-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

interface JobText {
  readonly parallelism: string;
  readonly name?: string;
  readonly more?: string;
}

function job({ parallelism, name = 'moby', more = '' }: JobText): string {
  return `apiVersion: windlass.dev/v1alpha1
kind: TrainingJob
metadata: { name: ${name} }
spec:
  model: { family: llama, config: { hiddenSize: 192, layers: 6, heads: 6 } }
  data: { uri: sample://moby-dick, tokenizer: { train: { vocabularySize: 4100 } } }
  parallelism: ${parallelism}
  task:
    pretrain: { steps: 600, batch: { sequences: 32, length: 128, grains: 16 }, optimizer: { learningRate: 3e-3 } }
  output: { model: moby }${more}
`;
}

async function planned(manifest: string, options: Partial<PlanOptions> = {}): Promise<string> {
  const file = join(folder, 'job.yaml');
  await writeFile(file, manifest);
  const written: string[] = [];
  await plan({
    files: [file],
    output: 'text',
    schedule: false,
    svg: undefined,
    trace: undefined,
    scheduleCsv: undefined,
    write: (text) => written.push(text),
    ...options,
  });
  return written.join('');
}

async function refusalOf(manifest: string, options: Partial<PlanOptions> = {}): Promise<string> {
  try {
    await planned(manifest, options);
  } catch (error) {
    if (isWindlassError(error)) return `${error.code} ${error.message}`.replaceAll(folder, '');
    throw error;
  }
  return 'accepted';
}

test('one rank', async () => {
  expect(await planned(job({ parallelism: '{}' }))).toMatchInlineSnapshot(`
    "job    moby
    ranks  1
    model  llama, 6 layers, hidden 192, vocabulary 4100, 32 bits
    step   32 sequences of 128 tokens, in 16 grains of 256 tokens

    RANKS  PARAMETERS  HOLDS
    0      3.4M        embedding, blocks 0-5, head

    RANKS  WEIGHTS   GRADIENTS  OPTIMIZER  ACTIVATIONS  HELD IN ALL
    0      13.1 MiB  69.3 MiB   26.3 MiB   20.0 MiB     129 MiB
    "
  `);
});

test('all axes at once', async () => {
  const parallelism = '{ pipeline: 2, dataReplicate: 2, dataShard: 2, tensor: 2, sequenceParallel: true }';
  const text = await planned(job({ parallelism }));
  expect(text).toMatchInlineSnapshot(`
    "job    moby
    ranks  16 = pipeline 2 x dataReplicate 2 x dataShard 2 x tensor 2
    model  llama, 6 layers, hidden 192, vocabulary 4100, 32 bits
    step   32 sequences of 128 tokens, in 16 grains of 256 tokens; 4 for each data
           rank
    modes  zero 3: dataShard shares optimizer, gradients and weights, gathered per
           grain
           sequenceParallel: norms and residuals split over positions
           schedule 1f1b, 1 stage per rank

    RANKS          PARAMETERS  HOLDS
    0-7            1.3M        embedding, blocks 0-3
    8, 10, 12, 14  836.5k      blocks 4, 5, head
    9, 11, 13, 15  837.3k      blocks 4, 5, head

    RANKS       WEIGHTS  GRADIENTS  OPTIMIZER  ACTIVATIONS  HELD IN ALL
    0, 2, 4, 6  5.4 MiB  14.5 MiB   4.9 MiB    15.5 MiB     40.4 MiB
    1, 3, 5, 7  5.4 MiB  14.6 MiB   4.9 MiB    15.5 MiB     40.4 MiB
    8-15        4.6 MiB  10.3 MiB   3.2 MiB    6.5 MiB      24.7 MiB

    RANKS          GRADIENTS  WEIGHTS   TENSOR    PIPELINE  TIED     SENT PER STEP
    0, 2, 4, 6     4.9 MiB    14.6 MiB  12.8 MiB  384 KiB   768 KiB  33.4 MiB
    1, 3, 5, 7     4.9 MiB    14.7 MiB  12.8 MiB  384 KiB   770 KiB  33.4 MiB
    8, 10, 12, 14  3.2 MiB    5.5 MiB   6.8 MiB   384 KiB   768 KiB  16.6 MiB
    9, 11, 13, 15  3.2 MiB    5.5 MiB   6.8 MiB   384 KiB   770 KiB  16.6 MiB

    bubble: 20.6 % of a step, with stages as dear as their operations and sending
    for free

    warning: 21 % of a step is lost waiting in the pipeline with 4 grains per data
    rank; batch.grains: 32 would make it 13 %

    warning: weights are gathered again for every grain: reshardAfterForward: false
    would send 12.2 MiB less per step and hold 4.5 MiB more
    "
  `);
  for (const line of text.split('\n')) expect([...line].length).toBeLessThanOrEqual(80);
});

test('the timeline of a pipeline', async () => {
  const text = await planned(job({ parallelism: '{ pipeline: 2, schedule: zbv, dataShard: 8 }' }), { schedule: true });
  expect(text.split('\n\n').at(-1)).toMatchInlineSnapshot(`
    "rank 0 |F0---F1--     f0--i0--w0--f1--i1--w1--I0---W0--          I1--W1---| 21 %
    rank 1 |     F0--f0---F1---f1---i0--w0---I0---W0--i1---w1---I1---W1--     | 14 %
            F forward  I input gradient  W weight gradient; bubble 17.7 %
    "
  `);
});

test('a limit of the pod that is too low, a bubble, and a stage that takes longer than others are told', async () => {
  const more = '\n  podTemplate: { resources: { limits: { memory: 16Mi } } }';
  const text = await planned(job({ parallelism: '{ pipeline: 6, dataReplicate: 2 }', more }));
  expect(text.slice(text.indexOf('warning'))).toMatchInlineSnapshot(`
    "warning: ranks 0-11: up to 53.2 MiB are held, more than the 16.0 MiB of
    podTemplate.resources.limits.memory. More grains, recompute: block, dataShard or
    tensor need less

    warning: 52 % of a step is lost waiting in the pipeline with 8 grains per data
    rank; batch.grains: 32 would make it 45 %

    warning: stage 4 (blocks 4, 5) takes 1.6 times as long as the mean; the others
    wait for it
    "
  `);
});

test('JSON holds every rank with its bytes', async () => {
  const text = await planned(job({ parallelism: '{ tensor: 2, dataReplicate: 2 }' }), { output: 'json' });
  const { jobs } = JSON.parse(text) as { jobs: { name: string; world: number; ranks: object[] }[] };
  expect(jobs).toHaveLength(1);
  expect(jobs[0]).toMatchObject({ name: 'moby', world: 4, bubble: 0, warnings: [] });
  expect(jobs[0]!.ranks[3]).toMatchInlineSnapshot(`
    {
      "at": {
        "data": 1,
        "pipeline": 0,
        "replicate": 1,
        "shard": 0,
        "tensor": 1,
      },
      "memory": {
        "activations": 15441920,
        "gradients": 27873792,
        "moments": 13788672,
        "weights": 6894336,
      },
      "parameters": 1723584,
      "rank": 3,
      "sent": {
        "gradientAllReduce": 8470272,
        "gradientReduceScatter": 0,
        "pipeline": 0,
        "tensor": 40919040,
        "tiedEmbedding": 0,
        "weightAllGather": 0,
      },
      "stages": [
        {
          "stage": 0,
          "units": [
            "embedding",
            "blocks.0",
            "blocks.1",
            "blocks.2",
            "blocks.3",
            "blocks.4",
            "blocks.5",
            "head",
          ],
        },
      ],
    }
  `);
});

test('a recomputation budget is met by computing blocks again', async () => {
  const activations = async (more: string) => {
    const { jobs } = JSON.parse(await planned(job({ parallelism: '{}', more }), { output: 'json' })) as {
      jobs: { ranks: { memory: { activations: number } }[] }[];
    };
    return jobs[0]!.ranks[0]!.memory.activations;
  };
  const all = await activations('');
  const within = await activations('\n  recomputeBudgetMiB: 15');
  expect(all).toBeGreaterThan(15 * 2 ** 20);
  expect(within).toBeLessThanOrEqual(15 * 2 ** 20);
  expect(within).toBeGreaterThan(await activations('\n  recompute: block'));
});

test('the drawing has a box for each rank, and with --schedule a box for each action', async () => {
  const svg = join(folder, 'plan.svg');
  const manifest = job({ parallelism: '{ pipeline: 2, dataShard: 2, tensor: 2 }' });
  await planned(manifest, { svg });
  const mesh = await readFile(svg, 'utf8');
  for (let rank = 0; rank < 8; rank += 1) expect(mesh).toContain(`>rank ${rank}</text>`);
  expect(mesh).not.toContain('rank 8');
  await planned(manifest, { svg, schedule: true });
  expect((await readFile(svg, 'utf8')).match(/<path [^>]*><title>/g)).toHaveLength(2 * 2 * 8);
});

test('--trace shows the step of median length as its ranks measured it beside the expected one', async () => {
  const manifest = job({ parallelism: '{ pipeline: 2, dataShard: 8 }' });
  const jobDir = await mkdtemp(join(folder, 'job-'));
  const schedule = buildSchedule({ schedule: '1f1b', pipeline: 2, stagesPerRank: 1, grains: 2 });
  const stepOf = (step: number, slower: number) =>
    simulate(schedule, { forward: 10 * slower, backwardInput: 10 * slower, backwardWeight: 10 * slower }).spans.map((span) => ({
      step,
      ...span,
    }));
  const spans = [...stepOf(11, 3), ...stepOf(12, 2), ...stepOf(13, 1)];
  for (const [pipeline, rank] of [0, 8].entries()) {
    const traceEvents = spans
      .filter((span) => span.rank === pipeline)
      .map(({ step, type, stage, grain, start, end }) => {
        const [ts, dur] = [1.8e15 + start * 1e3, (end - start) * 1e3];
        return {
          name: `${type} ${stage}.${grain}`,
          cat: 'action',
          ph: 'X',
          ts,
          dur,
          pid: rank,
          tid: 0,
          args: { step, type, stage, grain },
        };
      });
    await writeFile(join(jobDir, traceFileName(rank)), JSON.stringify({ otherData: { world: 16 }, traceEvents }));
  }
  const svg = join(jobDir, 'both.svg');
  const text = await planned(manifest, { schedule: true, trace: jobDir, svg });
  expect(text.split('\n\n').at(-1)).toMatchInlineSnapshot(`
    "step 12: 180.0 ms and a bubble of 33.3 % measured, 177.5 ms and 32.4 % expected
    rank 0 |F0-----F1-----              B0------------       B1------------| 33 %
    rank 1 |       F0-----B0------------F1-----B1------------              | 33 %
            F forward  B backward; bubble 33.3 %
    "
  `);
  const drawn = await readFile(svg, 'utf8');
  expect([...drawn.matchAll(/<text class="wl-(?:title|figure)"[^>]*>([^<]*)/g)].map(([, words]) => words)).toMatchInlineSnapshot(`
    [
      "moby: 1f1b, 2 stages on 2 ranks, 2 grains: step 12, measured",
      "bubble 33.3 %, length 180 ms",
      "expected: as much computing, sent for free",
      "bubble 32.4 %, length 178 ms",
    ]
  `);
  expect(drawn.match(/<path d=/g)).toHaveLength((2 * spans.length) / 3);
});

test('--trace shows what each part of the model took, and the cut that balances the stages', async () => {
  const jobDir = await mkdtemp(join(folder, 'job-'));
  const took = [1, 2, 2, 2, 2, 2, 2, 12].flatMap((cost, unit) => [
    { unit, pass: 'forward', dur: cost * 500 },
    { unit, pass: 'backward', dur: cost * 1500 },
  ]);
  const action = { cat: 'action', ts: 0, dur: 1e6, args: { step: 1, type: 'backward', stage: 0, grain: 0 } };
  const passes = took.map(({ dur, ...args }) => ({ cat: 'unit', ts: 1, dur, args: { step: 1, ...args } }));
  const trace = { otherData: { world: 1 }, traceEvents: [action, ...passes] };
  await writeFile(join(jobDir, traceFileName(0)), JSON.stringify(trace));
  const text = await planned(job({ parallelism: '{ pipeline: 2, dataShard: 8, stageLayers: [2, 4] }' }), { trace: jobDir });
  expect(text.slice(text.indexOf('measured'))).toMatchInlineSnapshot(`
    "measured on 1 rank: medians of one grain, in milliseconds

    UNIT       FORWARD  BACKWARD  BOTH
    embedding  0.50     1.50      2.00
    block 0    1.00     3.00      4.00
    block 1    1.00     3.00      4.00
    block 2    1.00     3.00      4.00
    block 3    1.00     3.00      4.00
    block 4    1.00     3.00      4.00
    block 5    1.00     3.00      4.00
    head       6.00     18.0      24.0

    STAGE  LAYERS  TAKES  BEST  WOULD TAKE
    0      2       10.0   6     26.0
    1      4       40.0   0     24.0

    stageLayers: [6, 0] would make the longest stage 26.0 instead of 40.0
    "
  `);
  const best = await planned(job({ parallelism: '{ pipeline: 2, stageLayers: [6, 0] }' }), { trace: jobDir });
  expect(best.slice(best.lastIndexOf('STAGE'))).toMatchInlineSnapshot(`
    "STAGE  LAYERS  TAKES  BEST  WOULD TAKE
    0      6       26.0   6     26.0
    1      0       24.0   0     24.0

    no other cut makes the longest stage shorter
    "
  `);
  const one = await planned(job({ parallelism: '{}' }), { trace: jobDir, output: 'json' });
  const { measured } = JSON.parse(one) as { measured: { units: object[]; best: object } };
  expect(measured.units[7]).toEqual({ name: 'head', forward: 6, backward: 18 });
  expect(measured.best).toEqual({ stageLayers: [6], milliseconds: [50] });
});

describe('a schedule from a file', () => {
  const own = '# name: mine\nF0.0,F0.1,B0.0,B0.1\nF1.0,F1.1,B1.0,B1.1\n';
  const layout = '{ pipeline: 2, dataReplicate: 8 }';
  const planOf = async (text: string, options: Partial<PlanOptions> = {}) => {
    const scheduleCsv = join(folder, 'own.csv');
    await writeFile(scheduleCsv, text);
    return [job({ parallelism: layout }), { scheduleCsv, ...options }] as const;
  };

  test('is planned, drawn and printed in the place of that of the job', async () => {
    const text = await planned(...(await planOf(own, { schedule: true })));
    expect(text.match(/schedule.*|rank [01] .*/g)).toMatchInlineSnapshot(`
      [
        "schedule of its own (mine), 2 stages on 2 ranks",
        "rank 0 |F0------F1-----                     B0-------------B1-------------| 32 %",
        "rank 1 |        F0---- F1-----B0------------B1------------                | 37 %",
      ]
    `);
    expect(await planned(...(await planOf(own, { output: 'csv' })))).toMatchInlineSnapshot(`
      "# name: mine
      F0.0,SF0.0,F0.1,SF0.1,RB0.0,B0.0,RB0.1,B0.1
      RF1.0,F1.0,RF1.1,F1.1,B1.0,SB1.0,B1.1,SB1.1
      "
    `);
  });

  test('is refused with its line and column, or for what it does not fit', async () => {
    const refusals = {
      'a cell': own.replace('B1.0', 'b1.0'),
      'a deadlock': own.replace('F0.0,F0.1,B0.0', 'B0.0,F0.0,F0.1'),
      'one rank': 'F0.0,B0.0,F0.1,B0.1',
      'one grain': 'F0.0,B0.0\nF1.0,B1.0\n',
      'half of the sharding': own.replace('B0.1', 'B0.1,REDUCE0'),
    };
    const said: Record<string, string> = {};
    for (const [name, text] of Object.entries(refusals)) said[name] = await refusalOf(...(await planOf(text)));
    said['no file'] = await refusalOf(job({ parallelism: layout }), { scheduleCsv: join(folder, 'none.csv') });
    said['two jobs'] = await refusalOf(`${job({ parallelism: layout })}---\n${job({ parallelism: '{}', name: 'dick' })}`, {
      scheduleCsv: join(folder, 'own.csv'),
    });
    expect(said).toMatchInlineSnapshot(`
      {
        "a cell": "WL_MANIFEST_INVALID /own.csv: line 3, column 11: "b1.0" is no action; B1.0 is one",
        "a deadlock": "WL_MANIFEST_INVALID /own.csv: deadlock: line 2, column 1 (B0.0) waits for line 2, column 6 (F0.0), which stands behind it. Move something that is waited for before what it stands behind",
        "half of the sharding": "WL_MANIFEST_INVALID /own.csv: has no REDUCE1: write UNSHARD, RESHARD and REDUCE for every stage, or none of them, and they are put in",
        "no file": "WL_FILE_MISSING /none.csv: ENOENT: no such file or directory, open '/none.csv'",
        "one grain": "WL_MANIFEST_INVALID /own.csv: is for 1 grain, but each data rank works through 2: it needs batch.grains: 8, or cells for 2",
        "one rank": "WL_MANIFEST_INVALID /own.csv: has 1 line of actions, one for each rank, but the pipeline has 2 ranks: write a line for each",
        "two jobs": "WL_USAGE --schedule-csv is for one job; /job.yaml has 2",
      }
    `);
  });

  test('that is in the manifest is refused with the line of the job', async () => {
    const parallelism = '{ pipeline: 2, dataReplicate: 8, schedule: csv, scheduleCsv: "F0.0,X\\nF1.0,B1.0" }';
    expect(await refusalOf(job({ parallelism }))).toMatchInlineSnapshot(
      `"WL_MANIFEST_INVALID /job.yaml:1: spec.parallelism.scheduleCsv: line 1, column 6: "X" is no action; F0.3 is one: forward of stage 0, grain 3"`,
    );
  });
});

test('prints the schedule with its sends and receives as CSV', async () => {
  const manifest = job({ parallelism: '{ pipeline: 2, dataReplicate: 8 }' });
  expect(await planned(manifest, { output: 'csv' })).toMatchInlineSnapshot(`
    "# name: 1f1b
    F0.0,SF0.0,F0.1,SF0.1,RB0.0,B0.0,RB0.1,B0.1
    RF1.0,F1.0,B1.0,SB1.0,RF1.1,F1.1,B1.1,SB1.1
    "
  `);
});

test('traces that are not there, or of another layout, are told apart', async () => {
  const jobDir = await mkdtemp(join(folder, 'job-'));
  const manifest = job({ parallelism: '{ pipeline: 2 }' });
  const missing = await refusalOf(manifest, { schedule: true, trace: jobDir });
  for (const rank of [0, 1]) await writeFile(join(jobDir, traceFileName(rank)), '{"otherData":{"world":4},"traceEvents":[]}');
  const other = await refusalOf(manifest, { schedule: true, trace: jobDir });
  for (const rank of [0, 1]) await writeFile(join(jobDir, traceFileName(rank)), '{"otherData":');
  const broken = await refusalOf(manifest, { schedule: true, trace: jobDir });
  const alone = await refusalOf(manifest, { trace: jobDir });
  const nameless = [missing, other, broken, alone].map((words) => words.replace(/\/job-[^/]*\//, '/JOB/'));
  expect(nameless).toMatchInlineSnapshot(`
    [
      "WL_FILE_MISSING /JOB/trace-rank-00000.json can't be read; the job writes it if it has spec.trace",
      "WL_USAGE /JOB/trace-rank-00000.json is of 4 ranks, the plan has 2",
      "WL_USAGE /JOB/trace-rank-00000.json is no trace of a rank",
      "WL_USAGE /JOB/trace-rank-00000.json is no trace of a rank",
    ]
  `);
});

test('what cannot be planned is refused with file, line, field and a size that fits', async () => {
  const two = `${job({ parallelism: '{}' })}---\n${job({ parallelism: '{}', name: 'dick' })}`;
  const model = 'apiVersion: windlass.dev/v1alpha1\nkind: Model\nmetadata: { name: moby }\nspec: {}\n';
  expect({
    tensor: await refusalOf(job({ parallelism: '{ tensor: 4 }' })),
    second: await refusalOf(`${job({ parallelism: '{}' })}---\n${job({ parallelism: '{ pipeline: 9 }', name: 'dick' })}`),
    'no tokenizer file': await refusalOf(
      job({ parallelism: '{}' }).replace('{ train: { vocabularySize: 4100 } }', '{ uri: missing }'),
    ),
    'two jobs in a drawing': await refusalOf(two, { svg: join(folder, 'two.svg') }),
    'no job': await refusalOf(model),
  }).toMatchInlineSnapshot(`
    {
      "no job": "WL_MANIFEST_INVALID /job.yaml: no TrainingJob in it",
      "no tokenizer file": "WL_FILE_MISSING spec.data.tokenizer.uri: /missing/tokenizer.json does not exist",
      "second": "WL_MANIFEST_INVALID /job.yaml:12: spec.parallelism.pipeline: is 9 x stagesPerRank 1 = 9 stages, but the model has 6 layers, an embedding and a head to fill them with. pipeline: 8 would fit",
      "tensor": "WL_MANIFEST_INVALID /job.yaml:1: spec.parallelism.tensor: is 4, but the model's 6 heads can't be split evenly. 2 would fit",
      "two jobs in a drawing": "WL_USAGE --svg draws one job; /job.yaml has 2",
    }
  `);
});
