// Starts `windlass` as a user would, on folders of its own, and leaves nothing behind: no process, no folder.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';

const root = resolve(import.meta.dirname, '../..');
const node = join(root, 'node_modules/.bin/node');
const entry = join(root, 'bin/windlass.ts');
/** Far longer than anything here takes on a loaded machine. */
const deadlineMs = 120_000;

interface Started {
  readonly child: ChildProcess;
  readonly state: string | undefined;
}
const started = new Set<Started>();
const folders = new Set<string>();

/** For afterEach or afterAll: ends what the tests started and removes their folders. */
export function cleanUp(): void {
  for (const { child, state } of started) {
    child.kill('SIGKILL');
    for (const pid of state ? podProcesses(state) : []) kill(pid, 'SIGKILL');
  }
  started.clear();
  for (const folder of folders) rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  folders.clear();
}

export interface Windlass {
  readonly pid: number;
  readonly output: () => string;
  /** Resolves when the output holds `text`, or matches it. Throws when the process ends before, with its output. */
  readonly until: (text: string | RegExp) => Promise<string>;
  readonly signal: (signal: NodeJS.Signals) => void;
  readonly hasEnded: () => boolean;
  /** Exit code, or the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals | null>;
}

/** Starts a command in `folder`. Its state folder, if it has one, is `folder/.windlass`. */
export function start(folder: string, ...args: string[]): Windlass {
  const child = spawn(node, [entry, ...args], { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
  started.add({ child, state: join(folder, '.windlass') });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const ended = new Promise<number | NodeJS.Signals | null>((done) => child.on('close', (code, signal) => done(code ?? signal)));
  let hasEnded = false;
  void ended.then(() => (hasEnded = true));
  return {
    pid: child.pid ?? 0,
    output: () => output,
    ended,
    signal: (signal) => void child.kill(signal),
    hasEnded: () => hasEnded,
    async until(text) {
      await eventually(`the output to hold ${text}`, () => {
        if (typeof text === 'string' ? output.includes(text) : text.test(output)) return true;
        if (hasEnded) throw new Error(`windlass ended without saying ${text}:\n${output}`);
        return false;
      });
      return output;
    },
  };
}

/** Runs a command to its end. */
export async function windlass(folder: string, ...args: string[]): Promise<{ code: number | string | null; output: string }> {
  const running = start(folder, ...args);
  const code = await running.ended;
  return { code, output: running.output() };
}

/** Waits until `condition` holds. What it throws ends the wait. */
export async function eventually<T>(what: string, condition: () => T | Promise<T>): Promise<Exclude<NonNullable<T>, false>> {
  const deadline = Date.now() + deadlineMs;
  for (;;) {
    const value = await condition();
    if (value) return value as Exclude<NonNullable<T>, false>;
    if (Date.now() > deadline) throw new Error(`waited in vain for ${what}`);
    await new Promise((done) => setTimeout(done, 30));
  }
}

const words = 'the sea whale ship captain wind sail deep white old harpoon boat water crew night'.split(' ');

/** A folder with a little text below `texts` and the manifests given in `manifest.yaml`. */
export function project(...manifests: string[]): string {
  const folder = mkdtempSync(join(tmpdir(), 'wl-e2e-'));
  folders.add(folder);
  mkdirSync(join(folder, 'texts'));
  let seed = 1;
  const next = () => (seed = (seed * 48_271) % 2_147_483_647);
  const lines = Array.from({ length: 300 }, () => Array.from({ length: 12 }, () => words[next() % words.length]).join(' '));
  writeFileSync(join(folder, 'texts/sea.txt'), `${lines.join('.\n')}.\n`);
  writeManifests(folder, ...manifests);
  return folder;
}

export function writeManifests(folder: string, ...manifests: string[]): void {
  writeFileSync(join(folder, 'manifest.yaml'), manifests.join('---\n'));
}

export interface JobOptions {
  name?: string;
  steps?: number;
  data?: string;
  hiddenSize?: number;
}

export function job({ name = 'tiny', steps = 20, data = './texts', hiddenSize = 32 }: JobOptions = {}): string {
  return `apiVersion: windlass.dev/v1alpha1
kind: TrainingJob
metadata: { name: ${name} }
spec:
  model: { family: llama, config: { hiddenSize: ${hiddenSize}, layers: 2, heads: 2, contextLength: 64 } }
  data: { uri: ${data}, tokenizer: { train: { vocabularySize: 300 } } }
  task:
    pretrain: { steps: ${steps}, batch: { sequences: 4, length: 32 }, optimizer: { learningRate: 3e-3 } }
  checkpoint: { everySteps: 10 }
  output: { model: ${name} }
`;
}

export function service(name = 'tiny', port = 8080): string {
  return `apiVersion: windlass.dev/v1alpha1
kind: InferenceService
metadata: { name: ${name} }
spec: { model: { name: ${name} }, port: ${port} }
`;
}

interface StoredObject {
  kind: string;
  metadata: { name: string; uid: string };
  spec: Record<string, unknown>;
  status?: Record<string, unknown>;
}

/** The objects as `windlass status -o json` prints them. */
export async function objects(folder: string): Promise<StoredObject[]> {
  const { code, output } = await windlass(folder, 'status', '-o', 'json');
  if (code !== 0) throw new Error(output);
  return (JSON.parse(output) as { items: StoredObject[] }).items;
}

export async function object(folder: string, kind: string, name: string): Promise<StoredObject | undefined> {
  return (await objects(folder)).find((item) => item.kind === kind && item.metadata.name === name);
}

/** Main processes of the pods that run on a state folder. */
export function podProcesses(state: string): number[] {
  const pods = join(state, 'pods');
  if (!existsSync(pods)) return [];
  return readdirSync(pods).flatMap((pod) => {
    const record = join(pods, pod, 'process.json');
    if (!existsSync(record)) return [];
    const { pid } = JSON.parse(readFileSync(record, 'utf8')) as { pid: number };
    return isAlive(pid) ? [pid] : [];
  });
}

interface PodOfJob {
  readonly index: number;
  readonly agent: number;
  /** Process of its rank, if one runs. */
  readonly rank: number | undefined;
}

/** The pods of a job that run, by index. */
export function podsOf(folder: string, job: string): PodOfJob[] {
  const found = podProcesses(join(folder, '.windlass')).flatMap((agent): PodOfJob[] => {
    const env = environmentOf(agent);
    if (env.get('WL_NAME') !== job) return [];
    const rank = processTree(agent).find((pid) => isAlive(pid) && roleOf(pid) === 'rank');
    return [{ index: Number(env.get('WL_RANK')), agent, rank }];
  });
  return found.sort((a, b) => a.index - b.index);
}

/** Empty for a process that has ended. */
function environmentOf(pid: number): Map<string, string> {
  let text = '';
  try {
    text = readFileSync(`/proc/${pid}/environ`, 'utf8');
  } catch {
    // It ended by itself.
  }
  return new Map(text.split('\0').map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]));
}

/** The process and everything below it. */
export function processTree(pid: number): number[] {
  const file = `/proc/${pid}/task/${pid}/children`;
  const children = existsSync(file) ? readFileSync(file, 'utf8').split(' ').filter(Boolean).map(Number) : [];
  return [pid, ...children.flatMap(processTree)];
}

/** Whether the process runs; a zombie does not. */
export function isAlive(pid: number): boolean {
  const file = `/proc/${pid}/stat`;
  try {
    const stat = readFileSync(file, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3) !== 'Z';
  } catch {
    return false;
  }
}

export function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It ended by itself.
  }
}

/** Command line of a process, as far as it says what it is: `agent`, `rank` or `engine`. */
export function roleOf(pid: number): string {
  return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').at(2) ?? '';
}

/** Weights and figures of what a job published; the rest of a version names the job. */
export async function published(folder: string, name: string): Promise<{ digest: string; metrics: Record<string, number> }> {
  const version = (await objects(folder)).find(({ kind, metadata }) => kind === 'ModelVersion' && metadata.name === `${name}-1`);
  const { digest, metrics } = version!.spec as { digest: string; metrics: Record<string, number> };
  return { digest, metrics };
}

interface LossLine {
  readonly step: number;
  /** Of the day, in ISO 8601. */
  readonly time: string;
  readonly 'train/loss': number;
}

/** The lines of steps in the metrics file of a job so far, in their order. A line that is being written is left out. */
export function lossLines(folder: string, name: string): LossLine[] {
  const file = join(folder, '.windlass/volumes/default/windlass-jobs/default', name, 'metrics.jsonl');
  return jsonLines<LossLine>(file).filter((line) => 'train/loss' in line);
}

/** The losses of a job so far, by step. */
export function lossesOf(folder: string, name: string): [step: number, loss: number][] {
  return lossLines(folder, name).map((line) => [line.step, line['train/loss']]);
}

/** The log of a pod so far: what its agent and its ranks said. */
export function podLog(folder: string, pod: string): LogLine[] {
  return jsonLines<LogLine>(join(folder, '.windlass/logs/default', pod, 'agent.log'));
}

interface LogLine extends Record<string, unknown> {
  readonly time: string;
  readonly msg: string;
}

function jsonLines<T>(file: string): T[] {
  const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n').slice(0, -1) : [];
  return lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as T);
}

/** The steps in the metrics file of a job, in the order of the file. */
export function metricSteps(folder: string, name = 'tiny'): number[] {
  return lossLines(folder, name).map(({ step }) => step);
}

/** A listener that holds a port of every address of this machine. */
export async function holdPort(): Promise<{ port: number; release: () => Promise<void> }> {
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((done) => server.listen(0, '0.0.0.0', done));
  return {
    port: (server.address() as AddressInfo).port,
    release: () => new Promise((done) => server.close(() => done())),
  };
}
