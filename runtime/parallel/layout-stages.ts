// The units of each pipeline stage of a model, cut by estimated cost.
import type { ModelConfig } from '#runtime/model/config.ts';
import { unitCost, unitsOf } from './layout-units.ts';
import { cutStages } from './schedule/main.ts';

/** Runs of `unitsOf(config)`, one per stage, as [first, end), by what the units cost with sequences of `length` tokens. None is empty. */
export function modelStages(config: ModelConfig, length: number, stages: number): (readonly [first: number, end: number])[] {
  const costs = unitsOf(config).map(({ kind }) => unitCost(config, length, kind));
  return cutStages(costs, stages).map(({ first, end }) => [first, end]);
}
