// Which parts of the model are computed again in the backward pass: as the job says, or as few as its memory budget allows.
import type { TrainingJobSpec } from '#crds/v1alpha1/training-job.ts';
import type { ModelConfig, Recompute } from '#runtime/model/main.ts';
import { recomputeWithin } from '#runtime/parallel/main.ts';
import type { ParallelLayout } from '#runtime/parallel/main.ts';

/** The same on all ranks of a tensor group, which compute again together. */
export function recomputeOf(
  { recompute, recomputeBudgetMiB, precision, task }: TrainingJobSpec,
  model: ModelConfig,
  { parallelism }: ParallelLayout,
): Recompute | ((layer: number) => Recompute) {
  if (recomputeBudgetMiB === undefined) return recompute;
  return recomputeWithin(recomputeBudgetMiB * 2 ** 20, { model, batch: task.pretrain.batch, parallelism, precision });
}
