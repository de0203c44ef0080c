// Bytes that a rank keeps through a whole step: weights, gradients and optimizer moments, by what dataShard shards.
import type { Parallelism } from '../parallelism.ts';

export const bytesPerValue = 4;

/** Buffers of units are padded to a multiple of this for each rank of dataShard. */
const alignElements = 16;

type Sharding = Pick<Parallelism, 'dataShard' | 'zero' | 'reshardAfterForward'>;

/** Elements of a unit's flat buffer: its parameters on one tensor rank, padded to equal shards of whole 64 bytes. */
export function paddedElements(elements: number, dataShard: number): number {
  const multiple = dataShard * alignElements;
  return Math.ceil(elements / multiple) * multiple;
}

/**
 * Weights: whole without zero 3; with it a share of each unit and the gathered units in use, which are two at a time when they are given
 * back after use and all otherwise.
 *
 * @param units padded elements of each unit on the rank.
 */
export function weightBytes(units: readonly number[], { dataShard, zero, reshardAfterForward }: Sharding): number {
  const whole = sum(units);
  if (dataShard === 1 || zero < 3) return whole * bytesPerValue;
  const inUse = reshardAfterForward ? sum(units.toSorted((a, b) => b - a).slice(0, 2)) : whole;
  return (whole / dataShard + inUse) * bytesPerValue;
}

/** First and second moment of AdamW: a share of each with any zero. */
export function momentBytes(units: readonly number[], { dataShard }: Sharding): number {
  return (2 * sum(units) * bytesPerValue) / dataShard;
}

/** Sums of gradients that exist at one time while `grains` grains are added in a binary tree: one per level, and that of the running grain. */
export function gradientSums(grains: number): number {
  return 1 + Math.floor(Math.log2(grains));
}

/**
 * Gradients are whole while grains are computed, whatever zero is, so that the sum of a rank's grains needs no traffic; the tree over the
 * grains multiplies them.
 *
 * @param elements padded elements of the rank's units, and those of a tied head, whose gradient is summed apart from the embedding's.
 */
export function gradientBytes(elements: number, grains: number): number {
  return elements * gradientSums(grains) * bytesPerValue;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
