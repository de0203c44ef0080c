// The parallel bench: what it costs to train with two processes instead of with two threads, and how fast PyTorch's DDP is beside it.
import { mkdtemp, rm } from 'node:fs/promises';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as kernels from '#kernels/binding.ts';
import { median } from './median.ts';
import { printParallel } from './parallel-report.ts';
import { models, processes, sides as allSides } from './parallel-setting.ts';
import type { ModelName, Side, SideName } from './parallel-setting.ts';
import { startSide } from './parallel-side.ts';
import type { OurSide } from './parallel-side.ts';
import { pins } from './pinned.ts';
import { Rounds } from './rounds.ts';
import { startTorchRanks } from './torch-ranks.ts';
import type { OperationTime, TorchPeer } from './torch-peer.ts';

export interface ParallelOptions {
  readonly large: boolean;
  /** The side that is compared with one process; all of them if absent, at the cost of their memory. */
  readonly only?: SideName;
  readonly json: boolean;
  /** Path of a python executable. */
  readonly torch?: string;
  readonly rounds: number;
  readonly warmup: number;
  readonly profile: boolean;
}

/** Figures of one side, medians over rounds. */
export interface ParallelFigures {
  readonly title: string;
  readonly secondsPerStep: { readonly median: number; readonly fastest: number; readonly slowest: number };
  /** Of all processes. */
  readonly cpuSecondsPerStep: number;
  readonly losses: readonly number[];
  /** Percent of the speed of one process, and the goal. */
  readonly efficiency?: number;
  /** The same of processor time: hardly depends on what else runs, and leaves out waiting. */
  readonly cpuEfficiency?: number;
  readonly goal?: number;
  /** Of rank 0. */
  readonly ofStep?: StepShare;
  /** Of the process with the most. */
  readonly peakBytes: number;
  readonly operations?: readonly OperationTime[];
}

/** What of a step goes into collectives: seconds, as of `CollectiveTime`. */
interface StepShare {
  readonly reducing: number;
  readonly gathering: number;
  readonly exposed: number;
  readonly bytesSent: number;
}

export interface ParallelRun {
  readonly model: ModelName;
  readonly rounds: number;
  readonly isPinned: boolean;
  readonly isa: string;
  readonly node: string;
  readonly loadAverage: readonly number[];
  readonly ours: readonly ParallelFigures[];
  readonly torch?: ParallelFigures;
  /** PyTorch's median time over that of our DDP. */
  readonly torchRatio?: number;
  /** Largest relative distance between our losses and PyTorch's in the first steps. */
  readonly lossDistance?: number;
  /** Whether all sides of ours had the same losses to the bit. */
  readonly isOneResult: boolean;
}

/** Steps whose losses must agree with PyTorch's; later ones drift apart. */
const comparedSteps = 5;
const allowedLossDistance = 1e-3;
/** Between the turns, so that threads of the side that just ran have gone to sleep. */
const restMs = 250;

/** Runs the bench and prints its figures. False: the sides did not compute the same, so no figure counts. */
export async function benchParallel(options: ParallelOptions): Promise<boolean> {
  const model: ModelName = options.large ? 'large' : 'small';
  const folder = await mkdtemp(join(tmpdir(), 'wl-bench-'));
  await using opened = new AsyncDisposableStack();
  opened.defer(() => rm(folder, { recursive: true }));
  const sides = allSides.filter(({ name }) => options.only === undefined || name === 'one' || name === options.only);
  const ours: OurSide[] = [];
  for (const side of sides) ours.push(opened.adopt(await startSide(side, model), (started) => started.close()));
  let peer: TorchPeer | undefined;
  if (options.torch !== undefined) {
    await ours[0]?.save(folder);
    peer = await startTorchRanks(options.torch, folder, models[model], processes);
    opened.adopt(peer, (started) => started.close());
  }
  const run = await measure({ model, sides, ours, peer }, options);
  if (options.json) console.log(JSON.stringify(run));
  else printParallel(run);
  if (!run.isOneResult) console.error('void: the losses of our sides are not the same to the bit');
  const agrees = run.lossDistance === undefined || run.lossDistance <= allowedLossDistance;
  if (!agrees)
    console.error(`void: the losses do not agree with PyTorch's within ${allowedLossDistance} over ${comparedSteps} steps`);
  return run.isOneResult && agrees;
}

interface Field {
  readonly model: ModelName;
  readonly sides: readonly Side[];
  /** One for each of `sides`. */
  readonly ours: readonly OurSide[];
  readonly peer: TorchPeer | undefined;
}

async function measure({ model, sides, ours, peer }: Field, options: ParallelOptions): Promise<ParallelRun> {
  const mine = ours.map((side) => new Rounds(side));
  const theirs = peer && new Rounds(peer);
  const all = theirs ? [...mine, theirs] : mine;
  for (const side of all) await side.warmUp(options.warmup);
  const load = loadavg();
  for (let round = 0; round < options.rounds; round += 1) {
    for (const side of all) {
      await side.run(1);
      await sleep(restMs);
    }
  }
  const [single] = mine;
  const figures: ParallelFigures[] = [];
  for (const [index, { title, goal }] of sides.entries()) {
    const [rounds, side] = [mine[index], ours[index]];
    if (!single || !rounds || !side) throw new Error('internal: a side that was not started');
    figures.push({
      ...timesOf(title, rounds),
      peakBytes: side.peakBytes(),
      ...(goal === undefined ? {} : { goal, ...comparisonOf(rounds, single), ofStep: shareOf(side, options.warmup) }),
      ...(options.profile ? { operations: await side.profile() } : {}),
    });
  }
  const ddp = figures[sides.findIndex(({ name }) => name === 'ddp')];
  const run = {
    model,
    rounds: options.rounds,
    isPinned: pins(),
    isa: kernels.isa(),
    node: process.version,
    loadAverage: load,
    ours: figures,
    isOneResult: mine.every(({ losses }) => losses.join() === single?.losses.join()),
  };
  if (!peer || !theirs || !ddp) return run;
  const torch = { ...timesOf(peer.description, theirs), peakBytes: await peer.peakBytes() };
  return {
    ...run,
    torch,
    torchRatio: torch.secondsPerStep.median / ddp.secondsPerStep.median,
    lossDistance: relativeDistance(ddp.losses, theirs.losses),
  };
}

function timesOf(title: string, { seconds, cpuSeconds, losses }: Rounds) {
  return {
    title,
    secondsPerStep: { median: median(seconds), fastest: Math.min(...seconds), slowest: Math.max(...seconds) },
    cpuSecondsPerStep: median(cpuSeconds),
    losses,
  };
}

function comparisonOf(rounds: Rounds, single: Rounds): { efficiency: number; cpuEfficiency: number } {
  return {
    efficiency: (100 * median(single.seconds)) / median(rounds.seconds),
    cpuEfficiency: (100 * median(single.cpuSeconds)) / median(rounds.cpuSeconds),
  };
}

function shareOf({ collectives, bytesSent }: OurSide, warmup: number): StepShare {
  const counted = collectives.slice(warmup);
  return {
    reducing: median(counted.map(({ reducing }) => reducing)),
    gathering: median(counted.map(({ gathering }) => gathering)),
    exposed: median(counted.map(({ exposed }) => exposed)),
    bytesSent,
  };
}

function relativeDistance(a: readonly number[], b: readonly number[]): number {
  return Math.max(...a.slice(0, comparedSteps).map((loss, step) => Math.abs(loss - (b[step] ?? NaN)) / loss));
}
