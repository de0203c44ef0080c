// The batch of a step and the grains of it that a rank works on.
import type { BatchShape } from '../layout-faults.ts';

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

/** The grains of data rank `data` of `dataRanks`: a run of consecutive ones. */
export function grainsOf({ inputs, targets }: Batch, shape: BatchShape, data: number, dataRanks: number): Grain[] {
  const rows = rowsOfGrain(shape);
  const count = shape.grains / dataRanks;
  return Array.from({ length: count }, (_, index) => {
    const firstToken = (data * count + index) * rows;
    const part = (of: Int32Array) => of.subarray(firstToken, firstToken + rows);
    return { index, isLast: index === count - 1, inputs: part(inputs), targets: part(targets), firstToken };
  });
}
