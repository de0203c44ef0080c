// The figures of the training bench in words.
import { setting } from './trainee.ts';
import type { SideFigures, TrainFigures } from './train.ts';

/** Operations that take less are left out of a profile. */
const leastMilliseconds = 1;

export function printTraining(figures: TrainFigures): void {
  const { sequences, length, layers, hiddenSize, heads, vocabularySize } = setting;
  const millions = (figures.parameters / 1e6).toFixed(1);
  console.log(
    `train: GPT with ${millions} million parameters (${layers} layers, ${hiddenSize} wide, ${heads} heads, vocabulary ${vocabularySize}), ` +
      `batch ${sequences} x ${length}, fp32`,
  );
  const load = figures.loadAverage.map((value) => value.toFixed(1)).join(' ');
  const peak = `${figures.fmaPeakGigaflops.toFixed(0)} GFLOP/s (one thread ${figures.oneThreadPeakGigaflops.toFixed(0)})`;
  console.log(
    `  Node ${figures.node}, load average ${load}, FMA peak ${peak}, ${figures.rounds} rounds of ${figures.stepsPerRound}`,
  );
  for (const side of [figures.ours, figures.torch]) if (side) printSide(side);
  if (!figures.comparison) return;
  const { ratio, cpuRatio, lossDistance } = figures.comparison;
  console.log(`ratio of medians: ${ratio.toFixed(2)}x PyTorch by the clock, ${cpuRatio.toFixed(2)}x by processor time`);
  console.log(`  losses of the first steps agree within ${lossDistance.toExponential(1)}`);
}

function printSide({ description, secondsPerStep, cpuSecondsPerStep, operations, ...side }: SideFigures): void {
  const ms = (seconds: number) => (seconds * 1000).toFixed(0);
  const spread = `${ms(secondsPerStep.fastest)} to ${ms(secondsPerStep.slowest)}`;
  console.log(description);
  console.log(
    `  ${ms(secondsPerStep.median)} ms a step (${spread}), ${side.tokensPerSecond.toFixed(0)} tokens/s, ${side.gigaflops.toFixed(0)} GFLOP/s = ` +
      `${side.percentOfPeak.toFixed(0)} % of the peak, ${(side.peakBytes / 2 ** 20).toFixed(0)} MiB at most`,
  );
  console.log(
    `  ${ms(cpuSecondsPerStep)} ms of processor time a step, in which it reaches ${side.percentOfThreadPeak.toFixed(0)} % of one thread's peak`,
  );
  for (const { op, calls, milliseconds } of operations ?? []) {
    if (milliseconds >= leastMilliseconds)
      console.log(`    ${milliseconds.toFixed(1).padStart(8)} ms ${String(calls).padStart(5)} ${op}`);
  }
}
