// Which blocks are computed again in the backward pass so that what a rank keeps of the forward pass stays within a budget.
import { pipelineSchedule } from '../pipeline-schedule.ts';
import { modelStages } from '../layout-stages.ts';
import { layerOf, unitsOf } from '../layout-units.ts';
import type { Recompute } from '#runtime/model/forward.ts';
import { activationBytes } from './order.ts';
import type { PlanRequest } from './plan.ts';
import { stageActivations } from './stage-activations.ts';

/**
 * By layer: the first blocks of each rank of the pipeline, as few as suffice; all of them if even that is too much. It depends on nothing that
 * differs between the ranks of a tensor group, which have to agree.
 */
export function recomputeWithin(
  budgetBytes: number,
  { model, batch, parallelism, precision }: Pick<PlanRequest, 'model' | 'batch' | 'parallelism' | 'precision'>,
): (layer: number) => Recompute {
  const schedule = pipelineSchedule(parallelism, batch.grains);
  const stages = modelStages(model, batch.length, schedule.stages, parallelism.stageLayers).map(([first, end]) =>
    unitsOf(model).slice(first, end),
  );
  const tokensPerGrain = (batch.sequences / batch.grains) * batch.length;
  const again = new Set<number>();
  for (const [rank, actions] of schedule.actions.entries()) {
    const own = stages.flatMap((units, stage) => (schedule.placement[stage] === rank ? [{ stage, units }] : []));
    const recompute = (layer: number) => (again.has(layer) ? 'block' : 'none');
    const options = { model, cut: { ...parallelism, precision }, recompute, tokensPerGrain };
    const isTooMuch = () =>
      activationBytes(actions, new Map(own.map(({ stage, units }) => [stage, stageActivations(options, units)]))) > budgetBytes;
    const layers = own.flatMap(({ units }) => units.filter(({ kind }) => kind === 'block').map(layerOf));
    for (const layer of layers) {
      if (!isTooMuch()) break;
      again.add(layer);
    }
  }
  return (layer) => (again.has(layer) ? 'block' : 'none');
}
