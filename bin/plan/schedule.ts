// When each rank of a pipeline computes what: simulated with the estimated costs of its stages, and beside it as it was measured.
import type { JobPlan } from '#runtime/parallel/plan/plan.ts';
import { simulate, timelineFigures, timelinesSvg, timelineSvg, timelineText } from '#runtime/parallel/schedule/main.ts';
import type { Span } from '#runtime/parallel/schedule/main.ts';
import type { Measured } from './measured.ts';

export function scheduleText(plan: JobPlan, measured?: Measured): string {
  const expected = `${timelineText(spansOf(plan), 80)}\n`;
  if (!measured) return expected;
  const [was, should] = [measured.spans, spansLike(plan, measured)].map(timelineFigures);
  const words = `step ${measured.step}: ${milliseconds(was!.length)} and a bubble of ${percent(was!.bubble)} measured,`;
  const others = `${milliseconds(should!.length)} and ${percent(should!.bubble)} expected`;
  return `${expected}\n${words} ${others}\n${timelineText(measured.spans, 80)}\n`;
}

export function scheduleSvg(name: string, plan: JobPlan, measured?: Measured): string {
  const { name: schedule, stages, ranks, grains } = plan.schedule;
  const title = `${name}: ${schedule}, ${stages} stages on ${ranks} ranks, ${grains} grains`;
  if (!measured) return timelineSvg(spansOf(plan), { title, hints: true });
  const timelines = [
    { title: `${title}: step ${measured.step}, measured`, spans: measured.spans },
    { title: 'expected: as much computing, sent for free', spans: spansLike(plan, measured) },
  ];
  return timelinesSvg(timelines, { title, unit: 'ms', hints: true });
}

/** The simulation in milliseconds, with as much computing as was measured. */
function spansLike(plan: JobPlan, { spans }: Measured): readonly Span[] {
  const simulated = spansOf(plan);
  const busy = (of: readonly Span[]) => timelineFigures(of).ranks.reduce((sum, rank) => sum + rank.busy, 0);
  const scale = busy(spans) / busy(simulated);
  return simulated.map((span) => ({ ...span, start: span.start * scale, end: span.end * scale }));
}

function milliseconds(time: number): string {
  return `${time.toFixed(1)} ms`;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
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
