// The checkpoint bench: saves and loads the state of a GPT-2 with 124 million parameters beside plain writes and reads of as many bytes.
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { openDeviceDisk } from '#runtime/checkpoint/device-disk.ts';
import { wholeBox } from '#runtime/checkpoint/box.ts';
import type { TrainingState } from '#runtime/checkpoint/manifest.ts';
import type { Shard } from '#runtime/checkpoint/shard.ts';
import { newModelConfig, parameterCount, parameterSpecs } from '#runtime/model/main.ts';
import type { Device, Tensor } from '#runtime/tensor/main.ts';
import { FileLanes, openDevice, unscoped, zeros } from '#runtime/tensor/main.ts';
import { Checkpointer } from '#runtime/train/snapshot.ts';
import { median } from './median.ts';

export interface CheckpointBenchOptions {
  readonly json: boolean;
  readonly rounds: number;
  /** Where the disk to be measured is mounted. */
  readonly folder: string;
}

interface Sample {
  readonly ms: number;
  /** Processor time of all threads: on a busy machine it says more than the clock. */
  readonly cpuMs: number;
}

const works = {
  plainWrite: 'plain writes and fsync',
  save: 'save',
  plainRead: 'plain reads',
  load: 'load',
  warmRead: 'plain reads from the cache',
  warmLoad: 'load from the cache',
};
type Work = keyof typeof works;

interface Figures {
  readonly bytes: number;
  /** Whether `plainRead` and `load` found the cache of the operating system empty. */
  readonly isCold: boolean;
  readonly rounds: readonly Record<Work, Sample>[];
  /** By round, in milliseconds: until the training loop goes on, and until the device takes its next step. */
  readonly waits: readonly { readonly loop: number; readonly device: number }[];
  /** Of one thread, in GB/s. */
  readonly speeds: { readonly copy: number; readonly checksum: number };
}

const groups = ['weights', 'first', 'second'] as const;
const blockBytes = 8 << 20;
const config = newModelConfig(
  'gpt2',
  { hiddenSize: 768, layers: 12, heads: 12 },
  { vocabularySize: 50257, trainingLength: 1024 },
);

export async function benchCheckpoint({ json, rounds, folder: parent }: CheckpointBenchOptions): Promise<void> {
  const folder = await mkdtemp(join(parent, 'wl-bench-'));
  const device = openDevice();
  using disk = openDeviceDisk();
  const tensors = unscoped(() => groups.map(() => parameterSpecs(config).map(({ shape }) => zeros(device, shape))));
  try {
    for (const tensor of tensors.flat()) tensor.write(Float32Array.from({ length: tensor.size }, Math.random));
    const checkpointer = new Checkpointer(stateOf(tensors), {
      jobDir: folder,
      disk,
      keep: 1,
      configDigest: 'bench',
      onSaved: () => {},
      onFailed: (error) => {
        throw error;
      },
    });
    const bytes = 12 * parameterCount(config);
    // As large as the state, so that the plain side goes through as much memory.
    const memory = new Uint8Array(bytes).fill(7);
    const restore = async () => {
      await checkpointer.restore((error) => {
        throw error;
      });
      await device.sync();
    };
    const [samples, waits]: [Record<Work, Sample>[], { loop: number; device: number }[]] = [[], []];
    let isCold = true;
    for (let round = 0; round <= rounds; round += 1) {
      const plain = join(folder, `plain-${round}`);
      // A checkpoint takes the place of the one before, so a plain file does too.
      const plainWrite = await timed(async () => {
        await writePlain(plain, memory);
        await rm(join(folder, `plain-${round - 1}`), { force: true });
      });
      const save = await timed(async () => void waits.push(await saveAndWait(checkpointer, device, round)));
      isCold = (await emptyCache()) && isCold;
      const plainRead = await timed(() => readPlain(plain, memory));
      await emptyCache();
      const load = await timed(restore);
      const warmRead = await timed(() => readPlain(plain, memory));
      const warmLoad = await timed(restore);
      samples.push({ plainWrite, save, plainRead, load, warmRead, warmLoad });
    }
    // The first round makes files and buffers that the later ones find; it does not count.
    const figures = { bytes, isCold, rounds: samples.slice(1), waits: waits.slice(1), speeds: await measureSpeeds() };
    if (json) console.log(JSON.stringify({ ...figures, ratios: ratiosOf(figures), loadAverage: loadavg() }));
    else print(figures);
  } finally {
    for (const tensor of tensors.flat()) tensor.dispose();
    device.close();
    await rm(folder, { recursive: true });
  }
}

function stateOf(tensors: readonly Tensor[][]): Shard[] {
  const specs = parameterSpecs(config);
  return groups.flatMap((group, of) =>
    specs.map(({ name, shape }, index) => {
      const tensor = tensors[of]![index]!;
      const range = { tensor, box: wholeBox(shape), begin: 0, end: tensor.size, replica: 0, replicas: 1 };
      return { group, name, shape, ranges: [range] };
    }),
  );
}

async function timed(work: () => Promise<unknown>): Promise<Sample> {
  const start = performance.now();
  const cpu = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(cpu);
  return { ms: performance.now() - start, cpuMs: (user + system) / 1000 };
}

async function saveAndWait(checkpointer: Checkpointer, device: Device, step: number): Promise<{ loop: number; device: number }> {
  const state: TrainingState = { step, seed: 0, sequences: step, tokens: step, evaluationsSinceBest: 0 };
  const start = performance.now();
  await checkpointer.save(state);
  const loop = performance.now() - start;
  await device.sync();
  const copied = performance.now() - start;
  await checkpointer.finished();
  return { loop, device: copied };
}

async function writePlain(path: string, memory: Uint8Array): Promise<void> {
  await using file = await open(path, 'w');
  for (let at = 0; at < memory.length; at += blockBytes) await file.write(memory.subarray(at, at + blockBytes));
  await file.sync();
}

async function readPlain(path: string, memory: Uint8Array): Promise<void> {
  await using file = await open(path, 'r');
  for (let at = 0; at < memory.length; at += blockBytes) await file.read(memory.subarray(at, at + blockBytes));
}

/** Takes all files out of the cache of the operating system. False where that is not allowed. */
async function emptyCache(): Promise<boolean> {
  return await writeFile('/proc/sys/vm/drop_caches', '3').then(
    () => true,
    () => false,
  );
}

async function measureSpeeds(): Promise<Figures['speeds']> {
  using lanes = new FileLanes(1);
  const [from, to] = [new Uint8Array(64 << 20).fill(7), new Uint8Array(64 << 20)];
  const best = async (work: () => unknown) => {
    const tries: number[] = [];
    for (let round = 0; round < 5; round += 1) tries.push((await timed(async () => await work())).ms);
    return from.length / Math.min(...tries) / 1e6;
  };
  return { copy: await best(() => to.set(from)), checksum: await best(() => lanes.checksum(from)) };
}

/** Plain time over ours, round by round. */
function ratiosOf({ rounds }: Figures): { save: number; load: number; warmLoad: number } {
  const ratio = (plain: Work, ours: Work) => median(rounds.map((round) => round[plain].ms / round[ours].ms));
  return { save: ratio('plainWrite', 'save'), load: ratio('plainRead', 'load'), warmLoad: ratio('warmRead', 'warmLoad') };
}

function print(figures: Figures): void {
  const { bytes, isCold, rounds, waits, speeds } = figures;
  const load = loadavg().map((value) => value.toFixed(1));
  console.log(
    `checkpoint: ${(bytes / 1e9).toFixed(2)} GB, weights and moments of ${(bytes / 12e6).toFixed(0)} million parameters`,
  );
  console.log(`  Node ${process.version}, load average ${load.join(' ')}, ${rounds.length} rounds`);
  console.log(`  one thread copies ${speeds.copy.toFixed(1)} GB/s, makes checksums of ${speeds.checksum.toFixed(1)} GB/s`);
  if (!isCold) console.log('  the cache of the operating system could not be emptied: all reads are from it');
  for (const [work, words] of Object.entries(works) as [Work, string][]) {
    const times = rounds.map((round) => round[work].ms);
    const rate = (bytes / median(times) / 1e6).toFixed(2);
    const spread = `${Math.min(...times).toFixed(0)} to ${Math.max(...times).toFixed(0)} ms`;
    const cpu = median(rounds.map((round) => round[work].cpuMs)).toFixed(0);
    console.log(`  ${words.padEnd(28)} ${rate} GB/s (${spread}), ${cpu} ms of processor time`);
  }
  const percent = (ratio: number) => `${(100 * ratio).toFixed(0)} %`;
  const { save, load: cold, warmLoad } = ratiosOf(figures);
  const [loop, device] = [median(waits.map((wait) => wait.loop)), median(waits.map((wait) => wait.device))];
  console.log(
    `save: ${percent(save)} of plain writes; the training loop waits ${loop.toFixed(1)} ms, the device ${device.toFixed(0)} ms`,
  );
  console.log(`load: ${percent(cold)} of plain reads; ${percent(warmLoad)} where all lies in the cache`);
}
