// Learning rate by step: linear warm-up, then constant, linear or cosine decay to a share of the top rate.

export interface ScheduleConfig {
  readonly schedule: 'cosine' | 'linear' | 'constant';
  readonly learningRate: number;
  readonly warmupSteps: number;
  readonly finalLearningRateRatio: number;
  readonly steps: number;
}

/** Rate for step 1, 2, ... `steps`. The first step already learns (rate / warmupSteps); the last one has the final rate. */
export function learningRateAt(step: number, config: ScheduleConfig): number {
  const { learningRate, warmupSteps, finalLearningRateRatio, steps } = config;
  if (step <= warmupSteps) return (learningRate * step) / warmupSteps;
  if (config.schedule === 'constant') return learningRate;
  const done = Math.min(1, (step - warmupSteps) / Math.max(1, steps - warmupSteps));
  const left = config.schedule === 'linear' ? 1 - done : (1 + Math.cos(Math.PI * done)) / 2;
  return learningRate * (finalLearningRateRatio + (1 - finalLearningRateRatio) * left);
}
