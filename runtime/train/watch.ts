// Judges the numbers of a step: whether they may be, and what the job wants done if not. Pure; every rank comes to the same verdict.
import type { TrainingJobSpec } from '#crds/v1alpha1/training-job.ts';
import { WindlassError } from '#runtime/api/errors.ts';
import type { StepResult } from './trainer.ts';

type Faults = TrainingJobSpec['faults'];

/** `skip`: leave the update out; `rollback`: go back to the newest checkpoint. */
export type Verdict =
  | { readonly action: 'go' }
  | { readonly action: 'skip' | 'rollback' | 'stop'; readonly error: WindlassError };

/** Weight of the newest norm in the running mean. */
const newestWeight = 0.02;

/** `mean` is the running mean of the gradient norms before this step; none in the first steps. */
export function judgeStep(faults: Faults, step: number, { loss, gradientNorm }: StepResult, mean: number | undefined): Verdict {
  for (const [what, value] of [
    ['the loss', loss],
    ['the gradient norm', gradientNorm],
  ] as const) {
    if (Number.isFinite(value)) continue;
    const error = new WindlassError('WL_LOSS_NOT_FINITE', `${what} became ${value} at step ${step}`, { details: { step } });
    return { action: faults.nonFinite, error };
  }
  const { gradientSpike: spike } = faults;
  if (!spike || mean === undefined || gradientNorm <= spike.factor * mean) return { action: 'go' };
  const message = `the gradient norm is ${gradientNorm} at step ${step}, more than ${spike.factor} times the running mean of ${mean}`;
  return { action: spike.action, error: new WindlassError('WL_GRADIENT_SPIKE', message, { details: { step } }) };
}

/** The running mean with one more norm. */
export function meanWith(norm: number, mean: number | undefined): number {
  return mean === undefined ? norm : mean + newestWeight * (norm - mean);
}
