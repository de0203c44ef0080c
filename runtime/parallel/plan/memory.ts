// Bytes that a rank keeps through a whole step: weights, gradients and optimizer moments, by what dataShard shards.
import type { Parallelism } from '../parallelism.ts';
import type { Action } from '../schedule/main.ts';
import { distinctRuns, unitSize } from './flat-runs.ts';
import type { HeldUnit } from './flat-runs.ts';
import { gradientElements } from './gradient-memory.ts';
import type { ReductionWay } from './gradient-memory.ts';

export const bytesPerValue = 4;

/** Slots for gathered weights with zero 3: one in use and one on its way, or one for each unit where weights are kept. */
export function weightSlots(units: number, { reshardAfterForward }: Pick<Parallelism, 'reshardAfterForward'>): number {
  return reshardAfterForward ? Math.min(2, units) : units;
}

/** Whether a rank keeps a shard of the weights only. */
export function shardsWeights({ dataShard, zero }: Pick<Parallelism, 'dataShard' | 'zero'>): boolean {
  return dataShard > 1 && zero === 3;
}

/**
 * Weights: whole, or with zero 3 a shard of each run, slots of the size of the largest unit for gathered ones, and with reshardWithin the part of
 * each run that is kept for neighbours.
 */
export function weightBytes(held: readonly HeldUnit[], parallelism: Parallelism): number {
  const runs = distinctRuns(held);
  if (!shardsWeights(parallelism)) return sum(runs.map(({ size }) => size)) * bytesPerValue;
  const slots = weightSlots(held.length, parallelism) * Math.max(0, ...held.map(unitSize));
  const { reshardWithin } = parallelism;
  const parts = reshardWithin === undefined ? 0 : sum(runs.map(({ size }) => size / reshardWithin));
  return (sum(runs.map(({ shardSize }) => shardSize)) + slots + parts) * bytesPerValue;
}

/** First and second moment of AdamW: a shard of each with any zero. */
export function momentBytes(held: readonly HeldUnit[]): number {
  return 2 * sum(distinctRuns(held).map(({ shardSize }) => shardSize)) * bytesPerValue;
}

/**
 * Gradients: sums of a rank's own grains are whole, so that they need no traffic, one for each level of the tree over them; with
 * reduceEveryGrain sums are of all ranks, and shards with zero 2 and 3. What is being computed or reduced is whole, and units share its
 * memory. The two gradients of a tied table are apart, unless one is added to the other.
 *
 * @param actions the rank's, with those of its shards.
 * @param stages units of each of its stages.
 */
export function gradientBytes(
  actions: readonly Action[],
  stages: ReadonlyMap<number, readonly HeldUnit[]>,
  way: ReductionWay,
): number {
  return gradientElements(actions, stages, way) * bytesPerValue;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
