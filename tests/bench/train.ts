// The training bench: steps of ours and of PyTorch, in its settings from plain to fastest, in turns.
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import * as kernels from '#kernels/binding.ts';
import { openDevice } from '#runtime/tensor/main.ts';
import type { Precision } from '#runtime/tensor/main.ts';
import { flopsPerToken } from '#runtime/train/flops.ts';
import { rowOf, withLimit } from './line.ts';
import type { BenchLine, BenchRow, IsaClass, Limits } from './line.ts';
import { Machine } from './machine.ts';
import { median } from './median.ts';
import { tellRound } from './progress.ts';
import { Rounds } from './rounds.ts';
import { prepareTorch, startTorch } from './torch-peer.ts';
import type { OperationTime, TorchPeer, TorchSetting } from './torch-peer.ts';
import { configOf, createOurs, trainedModels } from './trainee.ts';
import type { GptSetting, Ours, TrainedModel } from './trainee.ts';

/** Settings of PyTorch: as it comes, with jemalloc and huge pages, and compiled as well. */
type TorchSettingName = 'eager' | 'tuned' | 'compiled';

export interface TrainOptions {
  readonly isa: IsaClass;
  readonly model: TrainedModel;
  /** Of both sides; PyTorch's bf16 is autocast, with f32 weights. */
  readonly precision: Precision;
  /** Path of a python executable; without it there is no peer. */
  readonly torch: string | undefined;
  readonly settings: readonly TorchSettingName[];
  /** Path of jemalloc. */
  readonly jemalloc: string | undefined;
  readonly rounds: number;
  readonly steps: number;
  readonly warmup: number;
  readonly profile: boolean;
}

export interface TrainRun {
  readonly line: BenchLine;
  /** Why no figure counts: the sides did not compute the same. */
  readonly fault?: string;
  /** Times of operations in one more step, by side. */
  readonly operations: ReadonlyMap<string, readonly OperationTime[]>;
}

/** Steps whose losses must agree, relative to their size. */
export const comparedSteps = 10;
/** What bf16 rounds is not the same on both sides. */
const allowedLossDistance = { f32: 1e-3, bf16: 1e-2 };
/** Between the turns, so that threads of the side that just ran have gone to sleep. */
const restMs = 250;

interface TorchSide {
  readonly name: TorchSettingName;
  readonly peer: TorchPeer;
  readonly rounds: Rounds;
}

export async function benchTraining(options: TrainOptions): Promise<TrainRun> {
  const of = trainedModels[options.model];
  await using opened = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'wl-bench-'));
  opened.defer(() => rm(folder, { recursive: true }));
  const device = opened.use(openDevice());
  const ours = opened.adopt(await createOurs(device, of, options.precision), (started) => started.close());
  const peers = await startPeers(options, of, join(folder, 'model'), opened);
  const mine = new Rounds(ours);
  const machine = new Machine(device);
  for (const side of [mine, ...peers.map(({ rounds }) => rounds)]) await side.warmUp(options.warmup);
  // Before the limits of the machine are measured, which takes memory too.
  const mostBytes = process.resourceUsage().maxRSS * 1024;
  for (let round = 0; round < options.rounds; round += 1) {
    tellRound(round, options.rounds);
    await machine.look();
    for (const side of [mine, ...peers.map(({ rounds }) => rounds)]) {
      await side.run(options.steps);
      await sleep(restMs);
    }
  }
  const line: BenchLine = {
    bench: 'train',
    subject: options.precision === 'bf16' ? `${options.model} in bf16` : options.model,
    ...machine.describe(options.isa),
    versions: { node: process.version, ...(peers[0] ? { torch: peers[0].peer.version } : {}) },
    rounds: options.rounds,
    rows: await rowsOf(of, { mine, mostBytes }, peers, machine.limits),
    notes: peers.map(
      (side) => `losses of ${comparedSteps} steps are within ${distanceOf(mine, side).toExponential(1)} of ${side.name} PyTorch`,
    ),
  };
  const far = peers.filter((side) => !(distanceOf(mine, side) <= allowedLossDistance[options.precision]));
  return {
    line,
    ...(far.length > 0
      ? { fault: `the losses do not agree within ${allowedLossDistance[options.precision]} over ${comparedSteps} steps` }
      : {}),
    operations: options.profile ? await operationsOf(ours, peers) : new Map(),
  };
}

async function startPeers(
  { torch, settings, jemalloc, model, precision }: TrainOptions,
  of: GptSetting,
  folder: string,
  opened: AsyncDisposableStack,
): Promise<TorchSide[]> {
  if (torch === undefined) return [];
  await promisify(execFile)(process.execPath, [join(import.meta.dirname, 'initial-model.ts'), model, folder]);
  await prepareTorch(folder, kernels.threads(), { ...of, precision });
  const machine = { isa: kernels.isa(), threads: kernels.threads() };
  const tuned = { jemalloc };
  const how: Record<TorchSettingName, TorchSetting> = { eager: {}, tuned, compiled: { ...tuned, compile: true } };
  const sides: TorchSide[] = [];
  for (const name of settings) {
    const peer = opened.adopt(await startTorch(torch, folder, machine, how[name]), (started) => started.close());
    sides.push({ name, peer, rounds: new Rounds(peer) });
  }
  return sides;
}

/** Speed and memory against each setting. */
async function rowsOf(
  of: GptSetting,
  { mine, mostBytes }: { readonly mine: Rounds; readonly mostBytes: number },
  peers: readonly TorchSide[],
  limits: Limits,
): Promise<BenchRow[]> {
  const tokens = of.sequences * of.length;
  const speed = (rounds: Rounds) => tokens / median(rounds.seconds);
  const gigaflops = (speed(mine) * flopsPerToken(configOf(of), of.length)) / 1e9;
  const mebibytes = (bytes: number) => bytes / 2 ** 20;
  const memory = mebibytes(mostBytes);
  const limited = (row: BenchRow) => withLimit(row, 'fma', gigaflops, limits);
  if (peers.length === 0)
    return [limited(rowOf('speed', 'tokens/s', { ours: speed(mine) })), rowOf('most memory', 'MiB', { ours: memory })];
  const rows: BenchRow[] = [];
  for (const { name, rounds, peer } of peers) {
    const compared = rowOf(`speed, ${name}`, 'tokens/s', { ours: speed(mine), peer: speed(rounds) });
    const cpuRatio = median(rounds.cpuSeconds) / median(mine.cpuSeconds);
    rows.push(limited({ ...compared, cpuRatio, peerName: peer.description }));
    const theirs = mebibytes(await peer.peakBytes());
    rows.push({
      ...rowOf(`most memory, ${name}`, 'MiB', { ours: memory, peer: theirs, better: 'less' }),
      peerName: peer.description,
    });
  }
  return rows;
}

async function operationsOf(ours: Ours, peers: readonly TorchSide[]): Promise<Map<string, readonly OperationTime[]>> {
  kernels.profile(true);
  await ours.step();
  const operations = new Map<string, readonly OperationTime[]>([['ours', kernels.readProfile()]]);
  kernels.profile(false);
  for (const { name, peer } of peers) operations.set(name, await peer.profile());
  return operations;
}

/** Largest relative distance of the losses; NaN where a side has taken fewer steps. */
function distanceOf(mine: Rounds, { rounds }: TorchSide): number {
  const distances = Array.from({ length: comparedSteps }, (_, step) => {
    const [a = NaN, b = NaN] = [mine.losses[step], rounds.losses[step]];
    return Math.abs(a - b) / Math.abs(b);
  });
  return Math.max(...distances);
}
