// Which blocks are computed again in the backward pass: as the job says.
import type { TrainingJobSpec } from '#crds/v1alpha1/training-job.ts';
import type { ModelConfig, Recompute } from '#runtime/model/main.ts';
import type { ParallelLayout } from '#runtime/parallel/main.ts';

export function recomputeOf(spec: TrainingJobSpec, _config: ModelConfig, _layout: ParallelLayout): Recompute {
  return spec.recompute;
}
