// Numbers the stages that each rank computes, so that drawings can tell them apart.
import { isCompute } from '#runtime/api/schedule/action.ts';
import type { Span } from '../timing/figures.ts';

/** Of a rank and stage: 0 for the rank's first stage, 1 for its second and so on. */
export function chunkNumbers(spans: readonly Span[]): (span: Span) => number {
  const byRank = Map.groupBy(spans.filter(isCompute), ({ rank }) => rank);
  const stages = new Map(
    [...byRank].map(([rank, own]) => [rank, [...new Set(own.map(({ stage }) => stage))].sort((a, b) => a - b)]),
  );
  return ({ rank, stage }) => Math.max(0, stages.get(rank)?.indexOf(stage) ?? 0);
}
