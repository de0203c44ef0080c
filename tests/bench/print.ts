// A line of a bench in words.
import type { BenchLine, BenchRow } from './line.ts';
import type { OperationTime } from './torch-peer.ts';

/** Operations that take less are left out. */
const leastMilliseconds = 1;

export function printLine(line: BenchLine): void {
  const { fma, read, copy } = line.limits;
  const versions = Object.entries(line.versions).map(([name, version]) => `${name} ${version}`);
  console.log(`${line.bench}: ${line.subject}, ${line.isa} (${line.kernels} kernels), ${line.threads} threads`);
  console.log(`  ${line.cpu}, load ${line.load.toFixed(1)}, ${line.rounds} rounds in turns, ${versions.join(', ')}`);
  console.log(`  FMA ${fma.toFixed(0)} GFLOP/s, reading ${read.toFixed(1)} GB/s, copying ${copy.toFixed(1)} GB/s`);
  const width = Math.max(...line.rows.map(({ name }) => name.length));
  for (const row of line.rows) console.log(`  ${row.name.padEnd(width)}  ${wordsOf(row)}`);
  for (const note of line.notes ?? []) console.log(`  ${note}`);
}

export function printOperations(operations: ReadonlyMap<string, readonly OperationTime[]>): void {
  for (const [side, times] of operations) {
    console.log(`operations of a step, ${side}`);
    for (const { op, calls, milliseconds } of times)
      if (milliseconds >= leastMilliseconds)
        console.log(`  ${milliseconds.toFixed(1).padStart(8)} ms ${String(calls).padStart(5)} ${op}`);
  }
}

function wordsOf({ unit, ours, peer, peerName, ratio, cpuRatio, limit, percentOfLimit }: BenchRow): string {
  return [
    `${figure(ours).padStart(8)} ${unit}`,
    ...(percentOfLimit === undefined ? [] : [`${percentOfLimit.toFixed(0)} % of ${limit}`]),
    ...(peer === undefined ? [] : [`${peerName ?? 'peer'} ${figure(peer)}`]),
    ...(ratio === undefined ? [] : [`${ratio.toFixed(2)}x`]),
    ...(cpuRatio === undefined ? [] : [`${cpuRatio.toFixed(2)}x by processor time`]),
  ].join(', ');
}

/** Three digits, or all those before the point. */
export function figure(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}
