// When each rank of a pipeline computes what, simulated with the estimated costs of its stages.
import type { JobPlan } from '#runtime/parallel/plan/plan.ts';
import { simulate, timelineSvg, timelineText } from '#runtime/parallel/schedule/main.ts';
import type { Span } from '#runtime/parallel/schedule/main.ts';

export function scheduleText(plan: JobPlan): string {
  return `${timelineText(spansOf(plan), 80)}\n`;
}

export function scheduleSvg(name: string, plan: JobPlan): string {
  const { name: schedule, stages, ranks, grains } = plan.schedule;
  const title = `${name}: ${schedule}, ${stages} stages on ${ranks} ranks, ${grains} grains`;
  return timelineSvg(spansOf(plan), { title, hints: true });
}

/** Times in forward passes of the mean stage. */
function spansOf({ schedule, stageCosts }: JobPlan): readonly Span[] {
  const mean = stageCosts.reduce((sum, { forward }) => sum + forward, 0) / stageCosts.length;
  const costs = stageCosts.map(({ forward, backwardInput, backwardWeight }) => ({
    forward: forward / mean,
    backwardInput: backwardInput / mean,
    backwardWeight: backwardWeight / mean,
  }));
  return simulate(schedule, costs).spans;
}
