// The training bench: steps of ours, and of PyTorch in turns with them where it is asked for.
import { mkdtemp, rm } from 'node:fs/promises';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as kernels from '#kernels/binding.ts';
import { parameterCount } from '#runtime/model/main.ts';
import { openDevice } from '#runtime/tensor/main.ts';
import type { Device } from '#runtime/tensor/main.ts';
import { flopsPerToken } from '#runtime/train/flops.ts';
import { median } from './median.ts';
import { Rounds } from './rounds.ts';
import { prepareTorch, startTorch } from './torch-peer.ts';
import type { OperationTime, TorchPeer } from './torch-peer.ts';
import { printTraining } from './train-report.ts';
import { config, createOurs, setting } from './trainee.ts';
import type { Ours } from './trainee.ts';

export interface TrainOptions {
  readonly json: boolean;
  /** Path of a python executable. */
  readonly torch?: string;
  readonly rounds: number;
  readonly steps: number;
  readonly warmup: number;
  readonly profile: boolean;
}

/** Figures of one side. Rates are medians over rounds. */
export interface SideFigures {
  readonly description: string;
  readonly secondsPerStep: { readonly median: number; readonly fastest: number; readonly slowest: number };
  readonly cpuSecondsPerStep: number;
  readonly tokensPerSecond: number;
  readonly gigaflops: number;
  /** Of the peak of all threads, measured right before each round. On a busy machine neither is what the machine can do. */
  readonly percentOfPeak: number;
  /** Operations per second of processor time, of the peak of one thread: hardly depends on what else runs. */
  readonly percentOfThreadPeak: number;
  readonly peakBytes: number;
  readonly losses: readonly number[];
  readonly operations?: readonly OperationTime[];
}

export interface TrainFigures {
  readonly parameters: number;
  readonly rounds: number;
  readonly stepsPerRound: number;
  readonly fmaPeakGigaflops: number;
  readonly oneThreadPeakGigaflops: number;
  readonly loadAverage: readonly number[];
  readonly node: string;
  readonly ours: SideFigures;
  readonly torch?: SideFigures;
  readonly comparison?: Comparison;
}

interface Comparison {
  /** Their median time over ours: above 1 we are faster. */
  readonly ratio: number;
  /** The same of processor time. */
  readonly cpuRatio: number;
  /** Largest distance between the losses of both in the first five steps. Above `allowedLossDistance` the run is void. */
  readonly lossDistance: number;
}

/** Steps whose losses must agree. Later ones drift apart, as rounding differs and training amplifies it. */
const comparedSteps = 5;
const allowedLossDistance = 1e-3;
/** Between the turns, so that threads of the side that just ran have gone to sleep. */
const restMs = 250;

/** Runs the bench and prints its figures. False: the two sides did not compute the same, so no figure counts. */
export async function benchTraining(options: TrainOptions): Promise<boolean> {
  const folder = await mkdtemp(join(tmpdir(), 'wl-bench-'));
  const device = openDevice();
  const ours = await createOurs(device);
  let peer: TorchPeer | undefined;
  try {
    if (options.torch !== undefined) {
      await ours.save(join(folder, 'model'));
      await prepareTorch(join(folder, 'model'), kernels.threads());
      peer = await startTorch(options.torch, join(folder, 'model'), { isa: kernels.isa(), threads: kernels.threads() });
    }
    const figures = await measure(device, ours, peer, options);
    if (options.json) console.log(JSON.stringify(figures));
    else printTraining(figures);
    const isValid = figures.comparison === undefined || figures.comparison.lossDistance <= allowedLossDistance;
    if (!isValid) console.error(`void: the losses do not agree within ${allowedLossDistance} over ${comparedSteps} steps`);
    return isValid;
  } finally {
    await peer?.close();
    ours.close();
    device.close();
    await rm(folder, { recursive: true });
  }
}

async function measure(device: Device, ours: Ours, peer: TorchPeer | undefined, options: TrainOptions): Promise<TrainFigures> {
  const [mine, theirs] = [new Rounds(ours), peer && new Rounds(peer)];
  for (const side of [mine, theirs]) await side?.warmUp(options.warmup);
  const peaks: Peaks = { all: [], one: [] };
  const load = loadavg();
  for (let round = 0; round < options.rounds; round += 1) {
    peaks.all.push(await kernels.measureFmaPeak(device.stream));
    peaks.one.push(await kernels.measureFmaPeak(device.stream, 1));
    await mine.run(options.steps);
    await sleep(restMs);
    await theirs?.run(options.steps);
    await sleep(peer ? restMs : 0);
  }
  const description = `windlass, ${kernels.isa()}, ${kernels.threads()} threads`;
  const ourFigures = figuresOf(mine, peaks, description, process.resourceUsage().maxRSS * 1024);
  const profiled = options.profile ? { operations: await profileOurs(ours) } : {};
  const common = {
    parameters: parameterCount(config),
    rounds: options.rounds,
    stepsPerRound: options.steps,
    fmaPeakGigaflops: median(peaks.all),
    oneThreadPeakGigaflops: median(peaks.one),
    loadAverage: load,
    node: process.version,
    ours: { ...ourFigures, ...profiled },
  };
  if (!peer || !theirs) return common;
  const torch = figuresOf(theirs, peaks, peer.description, await peer.peakBytes());
  return {
    ...common,
    torch: { ...torch, ...(options.profile ? { operations: await peer.profile() } : {}) },
    comparison: {
      ratio: median(theirs.seconds) / median(mine.seconds),
      cpuRatio: median(theirs.cpuSeconds) / median(mine.cpuSeconds),
      lossDistance: lossDistance(mine.losses, theirs.losses),
    },
  };
}

/** GFLOP/s by round: of all threads, of one. */
interface Peaks {
  readonly all: number[];
  readonly one: number[];
}

function figuresOf(side: Rounds, peaks: Peaks, description: string, peakBytes: number): SideFigures {
  const tokens = setting.sequences * setting.length;
  const gigaflop = (tokens * flopsPerToken(config, setting.length)) / 1e9;
  const rates = side.seconds.map((seconds) => gigaflop / seconds);
  const percent = (seconds: readonly number[], peaks: readonly number[]) =>
    median(seconds.map((each, round) => (100 * gigaflop) / each / (peaks[round] ?? NaN)));
  return {
    description,
    secondsPerStep: { median: median(side.seconds), fastest: Math.min(...side.seconds), slowest: Math.max(...side.seconds) },
    cpuSecondsPerStep: median(side.cpuSeconds),
    tokensPerSecond: tokens / median(side.seconds),
    gigaflops: median(rates),
    percentOfPeak: percent(side.seconds, peaks.all),
    percentOfThreadPeak: percent(side.cpuSeconds, peaks.one),
    peakBytes,
    losses: side.losses,
  };
}

async function profileOurs(ours: Ours): Promise<OperationTime[]> {
  kernels.profile(true);
  await ours.step();
  const operations = kernels.readProfile();
  kernels.profile(false);
  return operations;
}

function lossDistance(a: readonly number[], b: readonly number[]): number {
  return Math.max(...a.slice(0, comparedSteps).map((loss, step) => Math.abs(loss - (b[step] ?? NaN))));
}
