// The form of a trace: that of Chrome and Perfetto, one file per rank, a row for computation and one for each communicator.
import type { Coordinates } from '../layout.ts';

/** Trace Event Format: X is a span, M names a row, C a number that changes. */
export interface TraceEvent {
  readonly name: string;
  readonly cat?: string;
  readonly ph: 'X' | 'M' | 'C';
  /** Microseconds of the wall clock, so that files of ranks can be laid over each other as well as their machines' clocks agree. */
  readonly ts?: number;
  readonly dur?: number;
  /** Row. */
  readonly tid: number;
  readonly args: Readonly<Record<string, unknown>>;
}

export interface RankTrace {
  readonly displayTimeUnit: 'ms';
  readonly otherData: { readonly rank: number; readonly world: number; readonly at: Coordinates };
  /** `pid` is the rank. */
  readonly traceEvents: readonly (TraceEvent & { readonly pid: number })[];
}

type TraceCategory = 'step' | 'action' | 'unit' | 'communication';

interface TraceTimes {
  readonly beganMs: number;
  readonly endedMs: number;
}

export const computeRow = 'compute';

export function traceEvent(
  name: string,
  cat: TraceCategory,
  { beganMs, endedMs }: TraceTimes,
  tid: number,
  args: TraceEvent['args'],
): TraceEvent {
  return { name, cat, ph: 'X', ts: beganMs * 1e3, dur: (endedMs - beganMs) * 1e3, tid, args };
}

/** `trace-rank-00003.json`. */
export function traceFileName(rank: number): string {
  return `trace-rank-${String(rank).padStart(5, '0')}.json`;
}
