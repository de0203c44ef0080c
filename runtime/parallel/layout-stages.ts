// The units of each pipeline stage of a model: as the job says, or cut by estimated cost.
import type { ModelConfig } from '#runtime/model/config.ts';
import { unitCost, unitsOf } from './layout-units.ts';
import { cutStages } from './schedule/main.ts';

/**
 * Runs of `unitsOf(config)`, one per stage, as [first, end); none is empty. `stageLayers` counts the blocks of each: the first has the embedding
 * besides, the last the head. Without it they are cut by what units cost with sequences of `length` tokens.
 */
export function modelStages(
  config: ModelConfig,
  length: number,
  stages: number,
  stageLayers?: readonly number[],
): (readonly [first: number, end: number])[] {
  if (stageLayers) {
    let end = 0;
    return stageLayers.map((blocks, stage) => {
      const first = end;
      end += blocks + (stage === 0 ? 1 : 0) + (stage === stages - 1 ? 1 : 0);
      return [first, end];
    });
  }
  const costs = unitsOf(config).map(({ kind }) => unitCost(config, length, kind));
  return cutStages(costs, stages).map(({ first, end }) => [first, end]);
}
