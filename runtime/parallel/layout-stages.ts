// The units of each pipeline stage of a model, cut by estimated cost.
import type { ModelConfig } from '#runtime/model/config.ts';
import { unitCost, unitsOf } from './layout-units.ts';
import { cutStages as cut } from './schedule/main.ts';

/** Runs of units, one per stage, as [first, end) of the list of units; none is empty. `costs` are those of the units. */
export function cutStages(costs: readonly number[], stages: number): (readonly [first: number, end: number])[] {
  return cut(costs, stages).map(({ first, end }) => [first, end]);
}

/** Runs of `unitsOf(config)`, by what the units cost with sequences of `length` tokens. */
export function modelStages(config: ModelConfig, length: number, stages: number): (readonly [first: number, end: number])[] {
  return cutStages(
    unitsOf(config).map(({ kind }) => unitCost(config, length, kind)),
    stages,
  );
}
