// Ranks that hold and send the same, told once.
import type { JobPlan, RankPlan } from './plan.ts';

export interface RankGroup {
  /** Sorted. */
  readonly ranks: readonly number[];
  /** Of one of them. */
  readonly plan: RankPlan;
}

/** In the order of the lowest rank of each. */
export function rankGroups({ ranks }: Pick<JobPlan, 'ranks'>): RankGroup[] {
  const same = Map.groupBy(ranks, ({ stages, parameters, memory, sent }) => JSON.stringify({ stages, parameters, memory, sent }));
  return [...same.values()].map((plans) => ({ ranks: plans.map(({ rank }) => rank), plan: plans[0]! }));
}

/** Sorted numbers, runs of at least three as a range. */
export function formatRanks(ranks: readonly number[]): string {
  const runs: number[][] = [];
  for (const rank of ranks) {
    const run = runs.at(-1);
    if (run?.at(-1) === rank - 1) run.push(rank);
    else runs.push([rank]);
  }
  return runs.map((run) => (run.length > 2 ? `${run[0]}-${run.at(-1)}` : run.join(', '))).join(', ');
}

/** Names of units in a row: `embedding, blocks 0-3`. */
export function formatUnits(units: readonly string[]): string {
  const blocks = units.flatMap((name) => (name.startsWith('blocks.') ? [Number(name.slice('blocks.'.length))] : []));
  const named = `${blocks.length === 1 ? 'block' : 'blocks'} ${formatRanks(blocks)}`;
  const before = units.includes('embedding') ? ['embedding'] : [];
  const after = units.includes('head') ? ['head'] : [];
  return [...before, ...(blocks.length > 0 ? [named] : []), ...after].join(', ');
}

/** 512 B, 1.5 KiB, 12 MiB: at most three digits and a point. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let [value, unit] = [bytes, 0];
  while (value >= 999.5 && unit < units.length - 1) [value, unit] = [value / 1024, unit + 1];
  const digits = unit === 0 || value >= 99.95 ? 0 : 1;
  return `${value.toFixed(digits)} ${units[unit]}`;
}
