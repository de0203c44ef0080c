// What a job is given and can't work with: each has its code, the place that is at fault, a remedy and an exit code, and nothing is lost.
import { cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { errorTable } from '#runtime/api/errors.ts';
import type { ErrorCode } from '#runtime/api/errors.ts';
import { listCheckpoints } from '#runtime/checkpoint/folders.ts';
import { readTensor, verifyCheckpoint } from '#runtime/checkpoint/verify.ts';
import { newFolder, readMetrics, runRank, tinyJob } from './rank.ts';

let folder: string;
/** A model of 300 tokens and 32 tokens of context, as a job publishes it. */
let model: string;
beforeAll(async () => {
  folder = await newFolder();
  const end = await runRank(folder, tinyJob(folder, { steps: 2 }));
  model = join(folder, 'models', end.published?.path ?? end.log);
});
afterAll(() => rm(folder, { recursive: true }));

type Change = Parameters<typeof tinyJob>[1];

/** Runs a job with a state folder of its own. Checks that it failed as said, and published nothing. */
async function expectFailure(change: Change, code: ErrorCode, exitCode: number, message: string, env = {}): Promise<void> {
  const end = await runRank(folder, tinyJob(folder, change), { WL_JOB_DIR: join(folder, 'failing'), ...env });
  await rm(join(folder, 'failing'), { recursive: true, force: true });
  expect(end.failure, end.log).toMatchObject({ code, remedy: errorTable[code].remedy });
  expect(end.failure?.message.replaceAll(folder, 'DIR')).toBe(message);
  expect(end.code).toBe(exitCode);
  expect(end.published).toBeUndefined();
  expect(await readdir(join(folder, 'models/tiny'))).toHaveLength(1);
}

async function file(name: string, content: string | Uint8Array): Promise<string> {
  await mkdir(join(folder, name, '..'), { recursive: true });
  await writeFile(join(folder, name), content);
  return join(folder, name);
}

/** A copy of the model with one file changed. */
async function damagedModel(name: string, change: (bytes: Buffer) => string | Uint8Array): Promise<Change> {
  const from = join(folder, 'damaged');
  await rm(from, { recursive: true, force: true });
  await cp(model, from, { recursive: true });
  await writeFile(join(from, name), change(await readFile(join(from, name))));
  return { from, data: { tokenizer: undefined } };
}

describe('data', () => {
  it('that does not exist', async () => {
    const uri = join(folder, 'nothing.txt');
    await expectFailure({ data: { uri } }, 'WL_FILE_MISSING', 64, 'data.uri DIR/nothing.txt: DIR/nothing.txt does not exist');
  });

  it('without a byte', async () => {
    const uri = await file('empty.txt', '');
    await expectFailure({ data: { uri } }, 'WL_DATA_EMPTY', 64, 'data.uri DIR/empty.txt: 1 file(s), all empty');
  });

  it('shorter than a training sequence and a held-out one', async () => {
    const uri = await file('short.txt', 'Call me Ishmael.');
    const message =
      'data.uri DIR/short.txt: the data has 5 tokens; one training window of 33 tokens and one to hold out need at least 66';
    await expectFailure({ data: { uri } }, 'WL_DATA_EMPTY', 64, message);
  });

  it('whose records lack the field', async () => {
    const uri = await file('fields.jsonl', '{"text":"a"}\n{"body":"b"}\n');
    await expectFailure(
      { data: { uri } },
      'WL_DATA_INVALID',
      64,
      'DIR/fields.jsonl:2: the record has no field "text"; it has body',
    );
  });

  it('with a line that is not JSON', async () => {
    const uri = await file('lines.jsonl', '{"text":"a"}\n\n{"text":\n');
    await expectFailure({ data: { uri } }, 'WL_DATA_INVALID', 64, 'DIR/lines.jsonl:3: not JSON: Unexpected end of JSON input');
  });
});

describe('tokenizer', () => {
  it('that does not exist', async () => {
    const tokenizer = { uri: join(folder, 'nowhere') };
    const message = 'data.tokenizer.uri: DIR/nowhere/tokenizer.json does not exist';
    await expectFailure({ data: { tokenizer } }, 'WL_FILE_MISSING', 64, message);
  });

  it('with more tokens than the model', async () => {
    const change = { from: model, data: { tokenizer: { train: { vocabularySize: 400 } } } };
    const message = `the tokenizer has 400 tokens, the model in ${model} has embeddings for 300`.replaceAll(folder, 'DIR');
    await expectFailure(change, 'WL_TOKENIZER_MISMATCH', 64, message);
  });
});

describe('model.from', () => {
  it('that does not exist', async () => {
    const change = { from: join(folder, 'nowhere') };
    await expectFailure(change, 'WL_FILE_MISSING', 64, 'model.from: DIR/nowhere/config.json does not exist');
  });

  it('with a context shorter than the sequences', async () => {
    const change = { from: model, data: { tokenizer: undefined }, batch: { length: 64 } };
    const place = model.replaceAll(folder, 'DIR');
    const message = `spec.task.pretrain.batch.length is 64; the model in ${place} takes at most 32 tokens`;
    await expectFailure(change, 'WL_MANIFEST_INVALID', 64, message);
  });

  it('whose weights end too soon', async () => {
    const change = await damagedModel('model.safetensors', (bytes) => bytes.subarray(0, -9));
    const size = (await readFile(join(model, 'model.safetensors'))).length;
    const message = `model.from: DIR/damaged/model.safetensors: the tensors end at byte ${size}, the file at ${size - 9}`;
    await expectFailure(change, 'WL_SAFETENSORS_INVALID', 82, message);
  });

  it('of a family that is not supported', async () => {
    const change = await damagedModel('config.json', (bytes) => bytes.toString().replace('"llama"', '"mamba"'));
    const known = 'openai-gpt, gpt2, gpt_neo, opt, bloom, llama, qwen2, qwen3, mistral, mixtral, gemma3_text';
    const message = `model.from: DIR/damaged/config.json: model_type is "mamba" but must be one of ${known}`;
    await expectFailure(change, 'WL_MODEL_INVALID', 64, message);
  });
});

describe('training', () => {
  it('with a prompt that fills the context is refused before the first step', async () => {
    const change = { task: { samples: { everySteps: 40, prompt: 'whale '.repeat(40), tokens: 4 } } };
    const end = await runRank(folder, tinyJob(folder, change), { WL_JOB_DIR: join(folder, 'failing') });
    expect([end.code, end.failure?.code], end.log).toEqual([64, 'WL_MANIFEST_INVALID']);
    expect(end.failure?.message).toMatch(
      /^spec\.task\.pretrain\.samples\.prompt has \d+ tokens; the model takes 32 with what it adds$/,
    );
    expect(end.log).not.toContain('training starts');
  });

  it('without memory names what was wanted, what is in use and the limit', async () => {
    const end = await runRank(folder, tinyJob(folder), { WL_JOB_DIR: join(folder, 'failing'), WL_MEMORY_LIMIT: '2000000' });
    expect([end.code, end.failure?.code], end.log).toEqual([64, 'WL_OUT_OF_MEMORY']);
    expect(end.failure?.message).toMatch(/out of memory: \d+ bytes wanted, \d+ in use, the limit is 2000000/);
    expect(end.failure?.remedy).toContain('Lower batch.sequences or batch.length');
  });

  it('that diverges stops at the step where it does, every time, and no NaN is ever saved', async () => {
    const optimizer = { learningRate: 10, warmupSteps: 0, weightDecay: 10, clipNorm: 1e6, schedule: 'constant' };
    const task = { optimizer, evaluation: undefined };
    const spec = tinyJob(folder, { steps: 200, task, checkpoint: { everySteps: 1, keep: 100 } });
    const job = join(folder, 'diverging/job');
    const end = await runRank(folder, spec, { WL_JOB_DIR: job });
    expect([end.code, end.failure?.code], end.log).toEqual([64, 'WL_LOSS_NOT_FINITE']);
    const { step = 0, message, remedy } = end.failure ?? {};
    expect(message).toMatch(new RegExp(`^(the loss|the gradient norm) became (NaN|-?Infinity) at step ${step}$`));
    expect(remedy).toContain('Lower the learning rate');
    const losses = (await readMetrics(join(folder, 'diverging'))).map((line) => [
      line['step'],
      Number.isFinite(line['train/loss']),
    ]);
    expect(losses).toEqual(Array.from({ length: step - 1 }, (_, index) => [index + 1, true]));

    const checkpoints = await listCheckpoints(join(job, 'checkpoints'));
    expect(checkpoints[0]?.step, 'the step before is saved').toBe(step - 1);
    for (const { path } of checkpoints) {
      const { tensors } = await verifyCheckpoint(path);
      for (const name of Object.keys(tensors)) {
        expect((await readTensor(path, name)).every(Number.isFinite), `${path} ${name}`).toBe(true);
      }
    }
    const again = await runRank(folder, spec, { WL_JOB_DIR: job });
    expect(again.failure).toEqual(end.failure);
    expect(again.log).toContain('"msg":"resumed"');
  });
});
