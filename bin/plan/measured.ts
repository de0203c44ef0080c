// The timeline of a pipeline as its ranks measured it, from the trace files in a job's folder.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { WindlassError } from '#runtime/api/errors.ts';
import type { JobPlan } from '#runtime/parallel/plan/plan.ts';
import { timelineFigures } from '#runtime/parallel/schedule/main.ts';
import type { Span } from '#runtime/parallel/schedule/main.ts';
import { traceFileName } from '#runtime/parallel/trace/chrome.ts';

export interface Measured {
  readonly step: number;
  /** Compute actions; milliseconds, by pipeline rank. */
  readonly spans: readonly Span[];
}

const Action = z.object({
  ts: z.number(),
  dur: z.number(),
  args: z.object({
    step: z.int(),
    type: z.enum(['forward', 'backward', 'backwardInput', 'backwardWeight']),
    stage: z.int(),
    grain: z.int(),
  }),
});
const Trace = z.object({
  otherData: z.object({ world: z.int() }),
  traceEvents: z.array(z.object({ cat: z.string().optional() }).loose()),
});

/** The step of median length, on the pipeline of the first data and tensor rank. Throws WL_FILE_MISSING; WL_USAGE for traces of another layout. */
export async function readMeasured(folder: string, { ranks, world, schedule }: JobPlan): Promise<Measured> {
  const pipeline = ranks.filter(({ at }) => at.data === 0 && at.tensor === 0);
  const traces: (Span & { step: number })[] = [];
  for (const { rank, at } of pipeline) traces.push(...(await readRank(folder, rank, at.pipeline, world)));
  const steps = [...Map.groupBy(traces, ({ step }) => step)].map(([step, spans]) => ({ step, spans }));
  const lengthOf = ({ spans }: Measured) => timelineFigures(spans).length;
  const sorted = steps.sort((a, b) => lengthOf(a) - lengthOf(b));
  const middle = sorted[Math.floor((sorted.length - 1) / 2)];
  const isOfPlan = ({ rank, stage, grain = 0 }: Span) => schedule.placement[stage] === rank && grain < schedule.grains;
  if (!middle?.spans.every(isOfPlan)) throw new WindlassError('WL_USAGE', `${folder} has no traces of this pipeline`);
  return middle;
}

async function readRank(folder: string, rank: number, pipeline: number, world: number): Promise<(Span & { step: number })[]> {
  const path = join(folder, traceFileName(rank));
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new WindlassError('WL_FILE_MISSING', `${path} can't be read; the job writes it if it has spec.trace`, { cause });
  });
  const trace = parsed(text, path);
  if (trace.otherData.world !== world)
    throw new WindlassError('WL_USAGE', `${path} is of ${trace.otherData.world} ranks, the plan has ${world}`);
  return trace.traceEvents.flatMap((event) => {
    if (event.cat !== 'action') return [];
    const { ts, dur, args } = Action.parse(event);
    return [{ ...args, rank: pipeline, start: ts / 1e3, end: (ts + dur) / 1e3 }];
  });
}

function parsed(text: string, path: string): z.output<typeof Trace> {
  try {
    return Trace.parse(JSON.parse(text));
  } catch (cause) {
    throw new WindlassError('WL_USAGE', `${path} is no trace of a rank`, { cause });
  }
}
