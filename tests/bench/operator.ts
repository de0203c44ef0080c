// The bench of the operator: pods a second beside what the API server takes, restarts of a gang, writes, memory, rest, and its start.
import { loadavg } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { components, kubernetesVersion } from '../../hack/test-cluster/components.ts';
import { median } from './median.ts';
import { burstRound, giveJobs, RawClient } from './operator/burst.ts';
import type { BurstRound, BurstSize } from './operator/burst.ts';
import { jobOf } from './operator/jobs.ts';
import { startOperator } from './operator/operator-process.ts';
import type { OperatorProcess } from './operator/operator-process.ts';
import type { ProcessorTime } from './operator/processor-log.ts';
import { printOperator } from './operator/report.ts';
import { restartRound } from './operator/restart.ts';
import type { RestartRound } from './operator/restart.ts';
import { openStage } from './operator/stage.ts';
import type { Stage } from './operator/stage.ts';
import { operatorWrites } from '../cluster/operator-writes.ts';

type Part = 'jobs' | 'gang' | 'restart' | 'rest';

export interface OperatorBenchOptions {
  readonly json: boolean;
  readonly rounds: number;
  /** All if empty. */
  readonly only: readonly Part[];
  /** Divides the sizes: for trying the bench out. */
  readonly divide: number;
  /** Connections of the raw client. */
  readonly parallel: number;
  /** Folder for profiles of the operator's processor time. */
  readonly profile?: string;
}

/** Pods a second: ours beside the ceiling, medians over rounds. */
interface BurstFigures extends BurstSize {
  readonly name: string;
  readonly ours: number;
  readonly ceiling: number;
  readonly ratio: number;
  /** The same from the first pod on. */
  readonly ratioOnceBegun: number;
  /** Of the operator until all pods run, and of the raw client. */
  readonly cpuMsPerPod: { readonly ours: number; readonly raw: number };
  /** What all processes used until the last pod was there, raw by ours: the ratio of rates where nothing else runs. */
  readonly ratioByProcessorTime: number;
  readonly writesPerJob: number;
  readonly rounds: readonly BurstRound[];
}

interface RestFigures {
  readonly jobs: number;
  readonly pods: number;
  readonly idleSeconds: number;
  /** In this time, renewals of the lease left out. */
  readonly idleWrites: number;
  readonly leaseRenewals: number;
  readonly idleCpuMs: number;
  readonly syncMs: number;
  readonly memoryAfterSyncMiB: number;
  readonly writesAfterSync: number;
}

export interface OperatorFigures {
  readonly bursts: readonly BurstFigures[];
  readonly restart?: { readonly ranks: number; readonly seconds: number; readonly rounds: readonly RestartRound[] };
  readonly rest?: RestFigures;
  readonly peakMemoryMiB: number;
  /** Turns in which every pod was counted. */
  readonly checkedTurns: number;
  readonly faults: readonly string[];
  readonly conditions: {
    readonly loadAverage: readonly number[];
    readonly node: string;
    readonly kubernetes: string;
    readonly etcd: string;
    readonly rawConnections: number;
  };
}

const idleSeconds = 70;
/** Turns that must be right, of whatever size. */
const leastTurns = 20;

/** Runs the bench and prints its figures. False: a pod was lost or made twice. */
export async function benchOperator(options: OperatorBenchOptions): Promise<boolean> {
  const say = (line: string): void => console.error(`operator: ${line}`);
  await using stage = await openStage(say);
  const figures = await measure(stage, options, say);
  if (options.json) for (const line of linesOf(figures)) console.log(JSON.stringify(line));
  else printOperator(figures);
  return figures.faults.length === 0;
}

async function measure(stage: Stage, options: OperatorBenchOptions, say: (line: string) => void): Promise<OperatorFigures> {
  const { rounds, divide, only, parallel } = options;
  const load = loadavg();
  const has = (part: Part): boolean => only.length === 0 || only.includes(part);
  await using raw = new RawClient(parallel);
  const bursts: BurstFigures[] = [];
  let restart: OperatorFigures['restart'];
  let rest: RestFigures | undefined;
  const faults: string[] = [];
  let [checkedTurns, peakMemoryMiB] = [0, 0];
  {
    await using operator = await startOperator(stage, options.profile);
    const sizes = [
      ...(has('jobs') ? [{ jobs: Math.ceil(200 / divide), ranks: 8 }] : []),
      ...(has('gang') ? [{ jobs: 1, ranks: Math.ceil(512 / divide) }] : []),
    ];
    for (const size of sizes) {
      const turns: BurstRound[] = [];
      // The first one makes connections and compiled code that the later ones find; it is checked, but does not count.
      for (let round = 0; round <= rounds; round += 1) {
        turns.push(await burstRound(stage, operator, raw, size, `burst-${size.ranks}-${round}`));
        const { ours, raw: ceiling } = turns.at(-1)!;
        say(
          `${size.jobs} x ${size.ranks}, round ${round}: ${ours.podsPerSecond.toFixed(0)} of ${ceiling.podsPerSecond.toFixed(0)} pods/s`,
        );
      }
      faults.push(...turns.flatMap(({ ours }) => ours.faults));
      checkedTurns += turns.length;
      bursts.push(burstFigures(size, turns.slice(1)));
    }
    if (has('restart')) {
      const ranks = Math.ceil(64 / divide);
      const turns: RestartRound[] = [];
      for (let round = 0; round < rounds; round += 1) {
        turns.push(await restartRound(stage, operator, ranks, `restart-${round}`));
        say(`restart of ${ranks} pods, round ${round}: ${turns.at(-1)!.seconds.toFixed(2)} s`);
      }
      faults.push(...turns.flatMap((turn) => turn.faults));
      checkedTurns += turns.length;
      restart = { ranks, seconds: median(turns.map(({ seconds }) => seconds)), rounds: turns };
    }
    for (; checkedTurns > 0 && checkedTurns < leastTurns; checkedTurns += 1) {
      const namespace = `turn-${checkedTurns}`;
      await stage.namespace(namespace);
      const jobs = Array.from({ length: 12 }, (_, index) => jobOf(namespace, `job-${index}`, 2 ** (index % 5)));
      faults.push(...(await giveJobs(stage, operator, jobs)).faults);
      await stage.clear(namespace);
    }
    if (has('rest')) rest = await beginRest(stage, operator, Math.ceil(625 / divide));
    peakMemoryMiB = operator.memory().peakMiB;
    faults.push(...operator.errors.map(({ msg }) => `the operator logged an error: ${msg}`));
  }
  if (rest) {
    await stage.settled();
    await using again = await startOperator(stage);
    const memoryAfterSyncMiB = again.memory().nowMiB;
    const writesAfterSync = operatorWrites(await stage.settled()).length;
    rest = { ...rest, syncMs: again.syncMs, memoryAfterSyncMiB, writesAfterSync };
    peakMemoryMiB = Math.max(peakMemoryMiB, again.memory().peakMiB);
  }
  const conditions = {
    loadAverage: load,
    node: process.version,
    kubernetes: kubernetesVersion,
    etcd: components.etcd.version,
    rawConnections: parallel,
  };
  return { bursts, ...(restart ? { restart } : {}), ...(rest ? { rest } : {}), peakMemoryMiB, checkedTurns, faults, conditions };
}

function burstFigures(size: BurstSize, rounds: readonly BurstRound[]): BurstFigures {
  const of = (figure: (round: BurstRound) => number): number => median(rounds.map(figure));
  return {
    name: `operator-${size.jobs}x${size.ranks}`,
    ...size,
    ours: of(({ ours }) => ours.podsPerSecond),
    ceiling: of(({ raw }) => raw.podsPerSecond),
    ratio: of(({ ours, raw }) => ours.podsPerSecond / raw.podsPerSecond),
    ratioOnceBegun: of(({ ours, raw }) => ours.podsPerSecondOnce / raw.podsPerSecond),
    ratioByProcessorTime: of(({ ours, raw }) => sumOf(raw.used) / sumOf(ours.used)),
    cpuMsPerPod: { ours: of(({ ours }) => ours.cpuMsPerPod), raw: of(({ raw }) => raw.cpuMsPerPod) },
    writesPerJob: Math.max(...rounds.map(({ ours }) => ours.writesPerJob)),
    rounds,
  };
}

const sumOf = (used: ProcessorTime): number => Object.values(used).reduce((sum, ms) => sum + ms, 0);

/** Many jobs run and nothing happens; what comes after the next start is filled in then. */
async function beginRest(stage: Stage, operator: OperatorProcess, jobs: number): Promise<RestFigures> {
  await stage.namespace('rest');
  const ranks = 8;
  await giveJobs(
    stage,
    operator,
    Array.from({ length: jobs }, (_, index) => jobOf('rest', `job-${index}`, ranks)),
  );
  const [cpu, leases] = [operator.cpuMs(), stage.leaseRenewals()];
  await sleep(idleSeconds * 1000);
  const idleCpuMs = operator.cpuMs() - cpu;
  const idleWrites = operatorWrites(await stage.settled()).length;
  const leaseRenewals = stage.leaseRenewals() - leases;
  const unknown = { syncMs: NaN, memoryAfterSyncMiB: NaN, writesAfterSync: NaN };
  return { jobs, pods: jobs * ranks, idleSeconds, idleWrites, leaseRenewals, idleCpuMs, ...unknown };
}

/** What `--json` prints: a line for each figure that has a ceiling or a goal, all with the conditions they were taken under. */
function linesOf({ bursts, restart, rest, conditions, ...whole }: OperatorFigures): object[] {
  return [
    ...bursts.map((burst) => ({ ...burst, ...conditions })),
    ...(restart ? [{ name: 'operator-restart', ...restart, ...conditions }] : []),
    ...(rest ? [{ name: 'operator-rest', ...rest, ...conditions }] : []),
    { name: 'operator', ...whole, ...conditions },
  ];
}
