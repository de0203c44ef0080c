// What a plan should make its reader think about, each with what would help.
import { planJob } from './plan.ts';
import type { JobPlan, PlanRequest, RankPlan } from './plan.ts';
import { formatBytes, formatRanks, formatUnits } from './rank-groups.ts';

/** Share of a step lost in the pipeline that is worth a word. */
const muchBubble = 0.2;
/** How far a stage may exceed the mean. */
const muchUneven = 1.3;

export function planWarnings(plan: JobPlan, request: PlanRequest, memoryLimitBytes?: number): string[] {
  return [
    ...memoryWarnings(plan, memoryLimitBytes),
    ...bubbleWarnings(plan, request),
    ...stageWarnings(plan),
    ...gatherWarnings(plan, request),
  ];
}

/** Bytes of all kinds together. */
export function heldBytes({ memory }: Pick<RankPlan, 'memory'>): number {
  return Object.values(memory).reduce((sum, bytes) => sum + bytes, 0);
}

function memoryWarnings({ ranks }: JobPlan, limit: number | undefined): string[] {
  const over = limit === undefined ? [] : ranks.filter((rank) => heldBytes(rank) > limit);
  if (limit === undefined || over.length === 0) return [];
  const most = Math.max(...over.map(heldBytes));
  const named = `${over.length === 1 ? 'rank' : 'ranks'} ${formatRanks(over.map(({ rank }) => rank))}`;
  return [
    `${named}: up to ${formatBytes(most)} are held, more than the ${formatBytes(limit)} of podTemplate.resources.limits.memory. More grains, recompute: block, dataShard or tensor need less`,
  ];
}

function bubbleWarnings({ bubble, grainsPerRank, batch }: JobPlan, request: PlanRequest): string[] {
  if (bubble < muchBubble) return [];
  const lost = `${percent(bubble)} of a step is lost waiting in the pipeline with ${grainsPerRank} grains per data rank`;
  const grains = batch.grains * 2;
  if (request.parallelism.schedule === 'csv') return [`${lost}; another order, or more grains, would shorten it`];
  if (batch.sequences % grains !== 0) return [`${lost}; more sequences in more grains would shorten it`];
  const better = planJob({ ...request, batch: { ...batch, grains } }).bubble;
  return [`${lost}; batch.grains: ${grains} would make it ${percent(better)}`];
}

function stageWarnings({ ranks, schedule, stageCosts }: JobPlan): string[] {
  const totals = stageCosts.map(({ forward, backwardInput, backwardWeight }) => forward + backwardInput + backwardWeight);
  const mean = totals.reduce((sum, cost) => sum + cost, 0) / totals.length;
  const dearest = totals.indexOf(Math.max(...totals));
  if (totals[dearest]! <= muchUneven * mean) return [];
  const holder = ranks.find(({ at }) => at.pipeline === schedule.placement[dearest]);
  const units = holder?.stages.find(({ stage }) => stage === dearest)?.units ?? [];
  const factor = (totals[dearest]! / mean).toFixed(1);
  return [`stage ${dearest} (${formatUnits(units)}) takes ${factor} times as long as the mean; the others wait for it`];
}

function gatherWarnings(plan: JobPlan, request: PlanRequest): string[] {
  const { parallelism } = request;
  if (parallelism.dataShard === 1 || parallelism.zero < 3 || !parallelism.reshardAfterForward) return [];
  const kept = planJob({
    ...request,
    parallelism: { ...parallelism, reshardAfterForward: false, reshardWithin: undefined },
  });
  const most = (of: (rank: RankPlan) => number) => Math.max(...plan.ranks.map(of));
  const saved = most((rank) => rank.sent.weightAllGather - kept.ranks[rank.rank]!.sent.weightAllGather);
  const sent = most(({ sent }) => Object.values(sent).reduce((sum, bytes) => sum + bytes, 0));
  if (saved < sent / 4) return [];
  const needed = most((rank) => kept.ranks[rank.rank]!.memory.weights - rank.memory.weights);
  return [
    `weights are gathered again for every grain: reshardAfterForward: false would send ${formatBytes(saved)} less per step and hold ${formatBytes(needed)} more`,
  ];
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}
