// What a trace says about the cut of a model into stages: what each part took, and the cut that would balance them best.
import { table } from '#operator/cli/format.ts';
import type { JobPlan } from '#runtime/parallel/plan/plan.ts';
import { cutStages } from '#runtime/parallel/schedule/main.ts';
import { readTraces } from './trace-files.ts';
import type { UnitTime } from './unit-times.ts';
import { nameOf, unitTimes } from './unit-times.ts';

export interface Balance {
  /** Ranks whose traces there are. */
  readonly ranks: number;
  /** Of the embedding, each block, and the head. */
  readonly units: readonly (UnitTime & { readonly name: string })[];
  /** Of the cut as planned, and of the one whose longest stage is shortest. */
  readonly now: Cut;
  readonly best: Cut;
}

interface Cut {
  /** `spec.parallelism.stageLayers`. */
  readonly stageLayers: readonly number[];
  /** Of each stage for one grain. */
  readonly milliseconds: readonly number[];
}

/** The traces may be of any layout of the same model, `tensor` and size of a grain. Throws WL_FILE_MISSING, WL_USAGE. */
export async function readBalance(folder: string, plan: JobPlan): Promise<Balance> {
  const traces = await readTraces(folder);
  const { layers } = plan.model;
  const times = unitTimes(traces, layers);
  const costs = times.map(({ forward, backward }) => forward + backward);
  const cut = (runs: readonly (readonly [first: number, end: number])[]): Cut => ({
    stageLayers: runs.map(([first, end]) => Math.min(end, layers + 1) - Math.max(first, 1)),
    milliseconds: runs.map(([first, end]) => costs.slice(first, end).reduce((sum, cost) => sum + cost, 0)),
  });
  return {
    ranks: traces.length,
    units: times.map((time, unit) => ({ name: nameOf(unit, layers), ...time })),
    now: cut(plan.stageUnits),
    best: cut(cutStages(costs, plan.schedule.stages).map(({ first, end }) => [first, end])),
  };
}

export function balanceText({ ranks, units, now, best }: Balance): string {
  const head = `measured on ${ranks === 1 ? '1 rank' : `${ranks} ranks`}: medians of one grain, in milliseconds`;
  const rows = units.map(({ name, forward, backward }) => [name, ...[forward, backward, forward + backward].map(ms)]);
  const times = `${head}\n\n${table([['UNIT', 'FORWARD', 'BACKWARD', 'BOTH'], ...rows])}`;
  if (now.stageLayers.length === 1) return times;
  const stages = now.stageLayers.map((layers, stage) => [
    String(stage),
    String(layers),
    ms(now.milliseconds[stage]!),
    String(best.stageLayers[stage]),
    ms(best.milliseconds[stage]!),
  ]);
  const [longest, shorter] = [now, best].map(({ milliseconds }) => Math.max(...milliseconds));
  const advice =
    shorter! < longest!
      ? `stageLayers: [${best.stageLayers.join(', ')}] would make the longest stage ${ms(shorter!)} instead of ${ms(longest!)}`
      : 'no other cut makes the longest stage shorter';
  return `${times}\n${table([['STAGE', 'LAYERS', 'TAKES', 'BEST', 'WOULD TAKE'], ...stages])}\n${advice}\n`;
}

function ms(time: number): string {
  return time.toFixed(time < 10 ? 2 : 1);
}
