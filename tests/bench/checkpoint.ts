// The checkpoint bench: saves and loads the state of a GPT-2 with 124 million parameters beside plain writes and reads of as many bytes.
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { wholeBox } from '#runtime/checkpoint/box.ts';
import type { TrainingState } from '#runtime/checkpoint/manifest.ts';
import type { Shard } from '#runtime/checkpoint/shard.ts';
import { newModelConfig, parameterCount, parameterSpecs } from '#runtime/model/main.ts';
import type { Tensor } from '#runtime/tensor/main.ts';
import { openDevice, unscoped, zeros } from '#runtime/tensor/main.ts';
import { Checkpointer } from '#runtime/train/snapshot.ts';
import { median } from './median.ts';

export interface CheckpointBenchOptions {
  readonly json: boolean;
  readonly rounds: number;
  /** Where the disk to be measured is mounted. */
  readonly folder: string;
}

/** Milliseconds of each round. */
interface Times {
  /** Blocks of 8 MiB to one file, then fsync. */
  readonly plainWrite: number[];
  readonly save: number[];
  /** Of `save`: until the training loop goes on. */
  readonly saveCall: number[];
  /** Of `save`: until the device has made the copies and takes the next step. */
  readonly saveCopy: number[];
  /** The same blocks, from a cache that was emptied if that is allowed. */
  readonly plainRead: number[];
  readonly load: number[];
  /** From the cache. */
  readonly warmRead: number[];
  readonly warmLoad: number[];
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
  const tensors = unscoped(() => groups.map(() => parameterSpecs(config).map(({ shape }) => zeros(device, shape))));
  try {
    for (const tensor of tensors.flat()) tensor.write(Float32Array.from({ length: tensor.size }, Math.random));
    const checkpointer = new Checkpointer(stateOf(tensors), {
      jobDir: folder,
      keep: 1,
      configDigest: 'bench',
      onSaved: () => {},
      onFailed: (error) => {
        throw error;
      },
    });
    const bytes = 12 * parameterCount(config);
    const times: Times = {
      plainWrite: [],
      save: [],
      saveCall: [],
      saveCopy: [],
      plainRead: [],
      load: [],
      warmRead: [],
      warmLoad: [],
    };
    let isCold = true;
    const plainFile = (round: number) => join(folder, `plain-${round}`);
    const restore = async () => {
      await checkpointer.restore((error) => {
        throw error;
      });
      await device.sync();
    };
    // The first round makes files and buffers that the later ones find; it does not count.
    for (let round = 0; round <= rounds; round += 1) {
      const taken: { [Name in keyof Times]: number } = {
        plainWrite: await timed(() => writePlain(plainFile(round), bytes)),
        ...(await timedSave(checkpointer, device, round)),
        plainRead: await timed(
          () => readPlain(plainFile(round)),
          async () => (isCold = (await emptyCache()) && isCold),
        ),
        load: await timed(restore, emptyCache),
        warmRead: await timed(() => readPlain(plainFile(round))),
        warmLoad: await timed(restore),
      };
      // As a checkpoint takes the place of the one before.
      await rm(plainFile(round - 1), { force: true });
      if (round > 0) for (const name of Object.keys(times) as (keyof Times)[]) times[name].push(taken[name]);
    }
    report({ json, bytes, isCold, times, speeds: measureSpeeds() });
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

async function timed(work: () => Promise<unknown>, before?: () => Promise<unknown>): Promise<number> {
  await before?.();
  const start = performance.now();
  await work();
  return performance.now() - start;
}

async function timedSave(
  checkpointer: Checkpointer,
  device: ReturnType<typeof openDevice>,
  step: number,
): Promise<{ save: number; saveCall: number; saveCopy: number }> {
  const state: TrainingState = { step, seed: 0, sequences: step, tokens: step, evaluationsSinceBest: 0 };
  const start = performance.now();
  await checkpointer.save(state);
  const saveCall = performance.now() - start;
  await device.sync();
  const saveCopy = performance.now() - start;
  await checkpointer.finished();
  return { save: performance.now() - start, saveCall, saveCopy };
}

async function writePlain(path: string, bytes: number): Promise<void> {
  const block = new Uint8Array(blockBytes).fill(7);
  await using file = await open(path, 'w');
  for (let written = 0; written < bytes; written += blockBytes) await file.write(block, 0, Math.min(blockBytes, bytes - written));
  await file.sync();
}

async function readPlain(path: string): Promise<void> {
  const block = new Uint8Array(blockBytes);
  await using file = await open(path, 'r');
  while ((await file.read(block, 0, blockBytes)).bytesRead > 0);
}

/** Takes all files out of the cache of the operating system. False where that is not allowed. */
async function emptyCache(): Promise<boolean> {
  return await writeFile('/proc/sys/vm/drop_caches', '3').then(
    () => true,
    () => false,
  );
}

/** Of one thread, in bytes per millisecond. */
function measureSpeeds(): { copy: number; checksum: number } {
  const [from, to] = [new Uint8Array(64 << 20).fill(7), new Uint8Array(64 << 20)];
  const best = (work: () => void) => {
    const tries = Array.from({ length: 5 }, () => {
      const start = performance.now();
      work();
      return performance.now() - start;
    });
    return from.length / Math.min(...tries);
  };
  return { copy: best(() => to.set(from)), checksum: best(() => void crc32(from)) };
}

function report(figures: {
  json: boolean;
  bytes: number;
  isCold: boolean;
  times: Times;
  speeds: ReturnType<typeof measureSpeeds>;
}): void {
  const { json, bytes, isCold, times, speeds } = figures;
  const ratios = {
    save: median(times.plainWrite.map((plain, round) => plain / (times.save[round] ?? NaN))),
    load: median(times.plainRead.map((plain, round) => plain / (times.load[round] ?? NaN))),
    warmLoad: median(times.warmRead.map((plain, round) => plain / (times.warmLoad[round] ?? NaN))),
  };
  if (json) {
    console.log(JSON.stringify({ bytes, isCold, loadAverage: loadavg(), times, bytesPerMillisecond: speeds, ratios }));
    return;
  }
  const rate = (list: readonly number[]) => `${(bytes / median(list) / 1e6).toFixed(2)} GB/s`;
  const spread = (list: readonly number[]) => `${Math.min(...list).toFixed(0)} to ${Math.max(...list).toFixed(0)} ms`;
  const line = (what: string, list: readonly number[]) => console.log(`  ${what.padEnd(42)} ${rate(list)} (${spread(list)})`);
  const load = loadavg().map((value) => value.toFixed(1));
  console.log(
    `checkpoint: ${(bytes / 1e9).toFixed(2)} GB, weights and moments of ${(bytes / 12e6).toFixed(0)} million parameters`,
  );
  console.log(`  Node ${process.version}, load average ${load.join(' ')}, ${times.save.length} rounds`);
  console.log(
    `  one thread copies ${(speeds.copy / 1e6).toFixed(1)} GB/s, makes checksums of ${(speeds.checksum / 1e6).toFixed(1)} GB/s`,
  );
  line('plain writes and fsync', times.plainWrite);
  line('save', times.save);
  line(`plain reads, ${isCold ? 'cache emptied' : 'from the cache'}`, times.plainRead);
  line(`load, ${isCold ? 'cache emptied' : 'from the cache'}`, times.load);
  line('plain reads from the cache', times.warmRead);
  line('load from the cache', times.warmLoad);
  const percent = (ratio: number) => `${(100 * ratio).toFixed(0)} %`;
  console.log(
    `save: ${percent(ratios.save)} of plain writes; training waits ${median(times.saveCall).toFixed(1)} ms, the device ${median(times.saveCopy).toFixed(0)} ms`,
  );
  console.log(`load: ${percent(ratios.load)} of plain reads; ${percent(ratios.warmLoad)} where all lies in the cache`);
}
