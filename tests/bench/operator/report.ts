// The figures of the bench of the operator in words.
import { median } from '../median.ts';
import type { OperatorFigures } from '../operator.ts';
import type { ProcessorTime } from './processor-log.ts';

export function printOperator({ bursts, restart, rest, conditions, ...whole }: OperatorFigures): void {
  const { loadAverage, node, kubernetes, etcd, rawConnections } = conditions;
  console.log(
    'operator: pods created, as the audit log of the API server tells; the ceiling is the same pods sent raw, in turns with ours',
  );
  const load = loadAverage.map((value) => value.toFixed(1)).join(' ');
  console.log(
    `  Node ${node}, Kubernetes ${kubernetes}, etcd ${etcd}, load average ${load}, raw client with ${rawConnections} connections`,
  );
  for (const burst of bursts) {
    const { jobs, ranks, ours, ceiling, ratio, ratioOnceBegun, ratioByProcessorTime, cpuMsPerPod, writesPerJob, rounds } = burst;
    const all = rounds.map((round) => (round.ours.podsPerSecond / round.raw.podsPerSecond).toFixed(2)).join(' ');
    console.log(
      `${jobs} job${jobs === 1 ? '' : 's'} of ${ranks} pods: ${ours.toFixed(0)} of ${ceiling.toFixed(0)} pods/s, ${percent(ratio)} of the ceiling (${all})`,
    );
    console.log(
      `  ${percent(ratioOnceBegun)} once the first pod is there; processor time a pod ${cpuMsPerPod.ours.toFixed(2)} ms, raw ${cpuMsPerPod.raw.toFixed(2)} ms`,
    );
    const [used, usedRaw] = [rounds.map((round) => round.ours.used), rounds.map((round) => round.raw.used)].map(wordsOf);
    console.log(
      `  ${percent(ratioByProcessorTime)} by the processor time of all processes until the last pod was there, in ms a pod:`,
    );
    console.log(`    ours ${used}`);
    console.log(`    raw ${usedRaw}`);
    console.log(`  writes for a job of ${ranks} pods: ${writesPerJob} (goal ${ranks + 12})`);
  }
  if (restart)
    console.log(
      `one of ${restart.ranks} pods fails, all are made again: ${restart.seconds.toFixed(2)} s (${restart.rounds.map(({ seconds }) => seconds.toFixed(2)).join(' ')})`,
    );
  if (rest) {
    console.log(
      `${rest.jobs} jobs with ${rest.pods} pods at rest for ${rest.idleSeconds} s: ${rest.idleWrites} writes beside ${rest.leaseRenewals} renewals of the lease, ${rest.idleCpuMs.toFixed(0)} ms of processor time`,
    );
    console.log(
      `a start with as many: synced in ${(rest.syncMs / 1000).toFixed(2)} s, ${rest.memoryAfterSyncMiB.toFixed(0)} MiB, ${rest.writesAfterSync} writes`,
    );
  }
  console.log(`memory of the operator, at most: ${whole.peakMemoryMiB.toFixed(0)} MiB`);
  console.log(
    `${whole.checkedTurns} turns checked, pods lost, doubled or refused: ${whole.faults.length === 0 ? 'none' : whole.faults.join('; ')}`,
  );
}

/** Medians of what each process used. */
function wordsOf(rounds: readonly ProcessorTime[]): string {
  const names = Object.keys(rounds[0] ?? {});
  return names.map((name) => `${name} ${median(rounds.map((used) => used[name]!)).toFixed(2)}`).join(', ');
}

const percent = (ratio: number): string => `${(100 * ratio).toFixed(0)} %`;
