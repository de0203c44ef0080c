// The batch of a step and the grains of it that a rank works on.
import type { BatchShape } from '../layout-faults.ts';
import type { Coordinates } from '../layout.ts';
import type { Parallelism } from '../parallelism.ts';

/** All sequences of a step; every rank has all of them and takes its own. */
export interface Batch {
  /** [sequences * length] token ids, sequence after sequence. */
  readonly inputs: Int32Array;
  /** The token that follows each input; negative: does not count. */
  readonly targets: Int32Array;
}

/** Whole sequences that are computed together. */
export interface Grain extends Batch {
  /** Among the grains of this rank, from 0. */
  readonly index: number;
  /** Whether the step has no later one on this rank. */
  readonly isLast: boolean;
  /** Index of the first row among the tokens of the step. */
  readonly firstToken: number;
}

/** Rows of a grain. */
export function rowsOfGrain({ sequences, grains, length }: BatchShape): number {
  return (sequences / grains) * length;
}

/**
 * Which of the `grains` of a step a data rank computes, in its order. A run of consecutive ones, so that their sum is a branch of the tree over
 * all grains. With `reduceEveryGrain` the ranks of a shard group share out the run of their replica in turns: the sum over them of each
 * one's next grain is then such a branch.
 */
export function grainNumbers(
  grains: number,
  { dataReplicate, dataShard, reduceEveryGrain }: Parallelism,
  { replicate, shard }: Pick<Coordinates, 'replicate' | 'shard'>,
): number[] {
  const count = grains / (dataReplicate * dataShard);
  const [stride, begin] = reduceEveryGrain ? [dataShard, shard] : [1, shard * count];
  return Array.from({ length: count }, (_, index) => replicate * dataShard * count + begin + index * stride);
}

/** The grains with these numbers. */
export function grainsOf({ inputs, targets }: Batch, shape: BatchShape, numbers: readonly number[]): Grain[] {
  const rows = rowsOfGrain(shape);
  return numbers.map((number, index) => {
    const firstToken = number * rows;
    const part = (of: Int32Array) => of.subarray(firstToken, firstToken + rows);
    return { index, isLast: index === numbers.length - 1, inputs: part(inputs), targets: part(targets), firstToken };
  });
}
