// What a timeline amounts to, whether simulated or measured: length, bubble, how long each rank works and waits.
import type { Action } from '#runtime/api/schedule/action.ts';
import { isCompute } from '#runtime/api/schedule/action.ts';

/** One action as it ran. Times have one unit, whichever: milliseconds where they were measured. */
export interface Span extends Action {
  readonly rank: number;
  readonly start: number;
  readonly end: number;
}

interface RankFigures {
  readonly busy: number;
  /** Part of the timeline's length in which the rank computes nothing. */
  readonly idle: number;
  /** Part of `idle` between the rank's own first and last compute action. */
  readonly stall: number;
  /** `idle` as a share of the length, 0 to 1. */
  readonly bubble: number;
}

export interface Figures {
  /** Of the first compute action of all ranks. */
  readonly start: number;
  readonly end: number;
  readonly length: number;
  /** Idle time of all ranks as a share of ranks x length, 0 to 1. */
  readonly bubble: number;
  readonly ranks: readonly RankFigures[];
}

/** Counts compute actions only; those of a rank must not overlap. An empty timeline has length 0 and no bubble. */
export function timelineFigures(spans: readonly Span[]): Figures {
  const compute = spans.filter(isCompute);
  const byRank = Map.groupBy(compute, ({ rank }) => rank);
  const first = (list: readonly Span[]) => list.reduce((least, { start }) => Math.min(least, start), Infinity);
  const last = (list: readonly Span[]) => list.reduce((most, { end }) => Math.max(most, end), -Infinity);
  if (compute.length === 0) return { start: 0, end: 0, length: 0, bubble: 0, ranks: [] };
  const [start, end] = [first(compute), last(compute)];
  const length = end - start;
  const ranks = Array.from({ length: Math.max(...byRank.keys()) + 1 }, (_, rank): RankFigures => {
    const own = byRank.get(rank) ?? [];
    const busy = own.reduce((sum, span) => sum + (span.end - span.start), 0);
    const idle = length - busy;
    const stall = own.length === 0 ? 0 : last(own) - first(own) - busy;
    return { busy, idle, stall, bubble: length === 0 ? 0 : idle / length };
  });
  return { start, end, length, bubble: ranks.reduce((sum, { bubble }) => sum + bubble, 0) / ranks.length, ranks };
}
