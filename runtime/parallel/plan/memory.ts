// Bytes that a rank keeps through a whole step: weights, gradients and optimizer moments, by what dataShard shards.
import type { Parallelism } from '../parallelism.ts';
import { distinctRuns, unitSize } from './flat-runs.ts';
import type { HeldUnit } from './flat-runs.ts';

export const bytesPerValue = 4;

/** Slots for gathered weights with zero 3: one in use and one on its way, or one for each unit where weights are kept. */
export function weightSlots(units: number, { reshardAfterForward }: Pick<Parallelism, 'reshardAfterForward'>): number {
  return reshardAfterForward ? Math.min(2, units) : units;
}

/** Whether a rank keeps a shard of the weights only. */
export function shardsWeights({ dataShard, zero }: Pick<Parallelism, 'dataShard' | 'zero'>): boolean {
  return dataShard > 1 && zero === 3;
}

/** Weights: whole, or with zero 3 a shard of each run and slots of the size of the largest unit for gathered ones. */
export function weightBytes(held: readonly HeldUnit[], parallelism: Parallelism): number {
  const runs = distinctRuns(held);
  if (!shardsWeights(parallelism)) return sum(runs.map(({ size }) => size)) * bytesPerValue;
  const slots = weightSlots(held.length, parallelism) * Math.max(0, ...held.map(unitSize));
  return (sum(runs.map(({ shardSize }) => shardSize)) + slots) * bytesPerValue;
}

/** First and second moment of AdamW: a shard of each with any zero. */
export function momentBytes(held: readonly HeldUnit[]): number {
  return 2 * sum(distinctRuns(held).map(({ shardSize }) => shardSize)) * bytesPerValue;
}

/**
 * Gradients are whole while grains are computed, whatever zero is, so that the sum of a rank's grains needs no traffic; the sum over all
 * ranks is a shard. The two gradients of a tied table are apart.
 *
 * @param buffersOf buffers that a unit needs at one time.
 */
export function gradientBytes(held: readonly HeldUnit[], buffersOf: (unit: HeldUnit) => number): number {
  const elements = held.map((unit) => {
    const buffers = buffersOf(unit);
    return sum(unit.runs.map(({ size, shardSize }) => buffers * size + (shardSize < size ? shardSize : 0)));
  });
  return sum(elements) * bytesPerValue;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
