// The figures of the parallel bench in words.
import { parameterCount } from '#runtime/model/main.ts';
import { grains, models, processes, torchGoal } from './parallel-setting.ts';
import { configOf } from './trainee.ts';
import type { ParallelFigures, ParallelRun } from './parallel.ts';

/** Operations that take less are left out of a profile. */
const leastMilliseconds = 1;

export function printParallel(run: ParallelRun): void {
  const of = models[run.model];
  const millions = (parameterCount(configOf(of)) / 1e6).toFixed(1);
  const load = run.loadAverage.map((value) => value.toFixed(1)).join(' ');
  console.log(
    `parallel: GPT with ${millions} million parameters, batch ${of.sequences} x ${of.length} in ${grains} grains, fp32`,
  );
  console.log(
    `  Node ${run.node}, ${run.isa}, load average ${load}, ${run.rounds} rounds in turns, ` +
      `one process with ${processes} threads, ${processes} processes with one thread each${run.isPinned ? ' on a core each' : ', not pinned'}`,
  );
  const tokens = of.sequences * of.length;
  for (const side of [...run.ours, ...(run.torch ? [run.torch] : [])]) printSide(side, tokens);
  const same = run.isOneResult ? 'the same to the bit' : 'NOT the same';
  console.log(`losses of our sides: ${same}`);
  if (run.torchRatio === undefined || run.lossDistance === undefined) return;
  console.log(`DDP: ${run.torchRatio.toFixed(2)}x PyTorch, ${judged(run.torchRatio >= torchGoal, `${torchGoal}x`)}`);
  console.log(`  losses of the first steps agree within ${run.lossDistance.toExponential(1)} of them`);
}

function printSide(side: ParallelFigures, tokens: number): void {
  const ms = (seconds: number) => (seconds * 1000).toFixed(0);
  const { median, fastest, slowest } = side.secondsPerStep;
  console.log(side.title);
  console.log(
    `  ${ms(median)} ms a step (${ms(fastest)} to ${ms(slowest)}), ${(tokens / median).toFixed(0)} tokens/s, ` +
      `${ms(side.cpuSecondsPerStep)} ms of processor time, ${(side.peakBytes / 2 ** 20).toFixed(0)} MiB at most`,
  );
  const { efficiency, cpuEfficiency, goal, ofStep } = side;
  if (efficiency !== undefined && cpuEfficiency !== undefined && goal !== undefined) {
    const reached = judged(efficiency >= goal, `${goal} %`);
    console.log(
      `  ${efficiency.toFixed(1)} % of the speed of one process by the clock, ${reached}; ${cpuEfficiency.toFixed(1)} % by processor time`,
    );
  }
  if (ofStep) {
    const percent = (seconds: number) => `${((100 * seconds) / median).toFixed(1)} %`;
    const gathering = ofStep.gathering > 0 ? `, gathering weights ${percent(ofStep.gathering)}` : '';
    console.log(
      `  reducing gradients takes ${percent(ofStep.reducing)} of a step${gathering}; at most ${percent(ofStep.exposed)} is not hidden; ` +
        `${(ofStep.bytesSent / 2 ** 20).toFixed(1)} MiB sent`,
    );
  }
  for (const { op, calls, milliseconds } of side.operations ?? []) {
    if (milliseconds >= leastMilliseconds)
      console.log(`    ${milliseconds.toFixed(1).padStart(8)} ms ${String(calls).padStart(5)} ${op}`);
  }
}

function judged(reached: boolean, goal: string): string {
  return `${reached ? 'reaches' : 'misses'} the goal of ${goal}`;
}
