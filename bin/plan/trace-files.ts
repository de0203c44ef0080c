// The traces that the ranks of a job left in its folder.
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { WindlassError } from '#runtime/api/errors.ts';
import { traceFileName } from '#runtime/parallel/trace/chrome.ts';

const times = { ts: z.number(), dur: z.number() };
const Action = z.object({
  cat: z.literal('action'),
  ...times,
  args: z.object({
    step: z.int(),
    type: z.enum(['forward', 'backward', 'backwardInput', 'backwardWeight']),
    stage: z.int().min(0),
    grain: z.int().min(0),
  }),
});
const UnitPass = z.object({
  cat: z.literal('unit'),
  ...times,
  args: z.object({ step: z.int(), unit: z.int().min(0), pass: z.enum(['forward', 'backward']) }),
});
const Trace = z.object({
  otherData: z.object({ rank: z.int().optional(), world: z.int() }),
  traceEvents: z.array(z.object({ cat: z.string().optional() }).loose()),
});

/** Times in milliseconds. */
interface Timed {
  readonly step: number;
  readonly start: number;
  readonly end: number;
}
export type TracedAction = Timed & Omit<z.output<typeof Action>['args'], 'step'>;
/** Through the embedding (0), a block, or the head. */
export type TracedUnit = Timed & Omit<z.output<typeof UnitPass>['args'], 'step'>;

export interface RankTraceFile {
  readonly path: string;
  /** Ranks of the job. */
  readonly world: number;
  readonly actions: readonly TracedAction[];
  readonly units: readonly TracedUnit[];
}

/** Of one rank. Throws WL_FILE_MISSING; WL_USAGE for what is no trace. */
export async function readTrace(folder: string, rank: number): Promise<RankTraceFile> {
  const path = join(folder, traceFileName(rank));
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new WindlassError('WL_FILE_MISSING', `${path} can't be read; the job writes it if it has spec.trace`, { cause });
  });
  try {
    const { otherData, traceEvents } = Trace.parse(JSON.parse(text));
    const timed = <Args>({ ts, dur, args }: { ts: number; dur: number; args: Args }) => ({
      ...args,
      start: ts / 1e3,
      end: (ts + dur) / 1e3,
    });
    const of = <T>(cat: string, schema: z.ZodType<T>) =>
      traceEvents.filter((event) => event.cat === cat).map((event) => schema.parse(event));
    return { path, world: otherData.world, actions: of('action', Action).map(timed), units: of('unit', UnitPass).map(timed) };
  } catch (cause) {
    throw new WindlassError('WL_USAGE', `${path} is no trace of a rank`, { cause });
  }
}

/** Of all ranks that left one; the first at least. */
export async function readTraces(folder: string): Promise<RankTraceFile[]> {
  const first = await readTrace(folder, 0);
  const names = new Set(await readdir(folder));
  const others = Array.from({ length: first.world - 1 }, (_, index) => index + 1).filter((rank) =>
    names.has(traceFileName(rank)),
  );
  const traces = [first];
  for (const rank of others) traces.push(await readTrace(folder, rank));
  return traces;
}
