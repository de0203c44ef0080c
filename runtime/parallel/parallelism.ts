// How a job is spread over ranks: `spec.parallelism` with its defaults filled in.
import type { ScheduleName } from './schedule/main.ts';

/** `spec.parallelism` of a TrainingJob, defaults filled. */
export interface Parallelism {
  /** Copies of the model that share nothing but gradients. */
  readonly dataReplicate: number;
  /** Ranks that one copy's state is spread over; together they work on as many grains. */
  readonly dataShard: number;
  /** What `dataShard` shards: 1 the optimizer's moments; 2 and gradients; 3 and weights. */
  readonly zero: 1 | 2 | 3;
  /** With `zero` 3: whether gathered weights are given back after the forward pass and gathered again. */
  readonly reshardAfterForward: boolean;
  /** With that: ranks among which weights stay spread after they were first gathered in a step; all of `dataShard` if absent. */
  readonly reshardWithin?: number | undefined;
  /** With `zero` 2 and 3: whether the gradients of each grain are reduced by themselves, and not the sum of a rank's grains. */
  readonly reduceEveryGrain: boolean;
  /** Ranks that heads, MLPs and vocabulary are split over. */
  readonly tensor: number;
  /** Whether norms, residuals and dropout are split over the positions of a sequence within the tensor group. */
  readonly sequenceParallel: boolean;
  /** Ranks that the blocks are split over, one run of blocks after the other. */
  readonly pipeline: number;
  readonly schedule: ScheduleName;
  /** Unused with `schedule` csv, whose text tells which stage lies where. */
  readonly stagesPerRank: number;
  /** With `schedule` csv: the schedule itself; see runtime/api/schedule/csv.ts. */
  readonly scheduleCsv?: string | undefined;
  /** Blocks of each stage, in order; stages are cut by estimated cost if absent. */
  readonly stageLayers?: readonly number[] | undefined;
}

/** One rank. */
export const noParallelism: Parallelism = {
  dataReplicate: 1,
  dataShard: 1,
  zero: 3,
  reshardAfterForward: true,
  reduceEveryGrain: false,
  tensor: 1,
  sequenceParallel: false,
  pipeline: 1,
  schedule: '1f1b',
  stagesPerRank: 1,
};

/** Number of ranks that a layout takes: the product of its axes. */
export function worldOf({ pipeline, dataReplicate, dataShard, tensor }: Parallelism): number {
  return pipeline * dataReplicate * dataShard * tensor;
}
