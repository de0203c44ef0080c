// The timeline of a pipeline as its ranks measured it, from the trace files in a job's folder.
import { WindlassError } from '#runtime/api/errors.ts';
import type { JobPlan } from '#runtime/parallel/plan/plan.ts';
import { timelineFigures } from '#runtime/parallel/schedule/main.ts';
import type { Span } from '#runtime/parallel/schedule/main.ts';
import { readTrace } from './trace-files.ts';

export interface Measured {
  readonly step: number;
  /** Compute actions; milliseconds, by pipeline rank. */
  readonly spans: readonly Span[];
}

/** The step of median length, on the pipeline of the first data and tensor rank. Throws WL_FILE_MISSING; WL_USAGE for traces of another layout. */
export async function readMeasured(folder: string, { ranks, world, schedule }: JobPlan): Promise<Measured> {
  const pipeline = ranks.filter(({ at }) => at.data === 0 && at.tensor === 0);
  const traces: (Span & { step: number })[] = [];
  for (const { rank, at } of pipeline) {
    const { path, world: traced, actions } = await readTrace(folder, rank);
    if (traced !== world) throw new WindlassError('WL_USAGE', `${path} is of ${traced} ranks, the plan has ${world}`);
    traces.push(...actions.map((action) => ({ ...action, rank: at.pipeline })));
  }
  const steps = [...Map.groupBy(traces, ({ step }) => step)].map(([step, spans]) => ({ step, spans }));
  const lengthOf = ({ spans }: Measured) => timelineFigures(spans).length;
  const sorted = steps.sort((a, b) => lengthOf(a) - lengthOf(b));
  const middle = sorted[Math.floor((sorted.length - 1) / 2)];
  const isOfPlan = ({ rank, stage, grain = 0 }: Span) => schedule.placement[stage] === rank && grain < schedule.grains;
  if (!middle?.spans.every(isOfPlan)) throw new WindlassError('WL_USAGE', `${folder} has no traces of this pipeline`);
  return middle;
}
