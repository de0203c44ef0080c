// What each rank of a job holds, keeps in memory and sends, computed from the layout alone: nothing is run.
import type { ModelConfig } from '#runtime/model/config.ts';
import type { BatchShape } from '../layout-faults.ts';
import { cutStages } from '../layout-stages.ts';
import { unitCost, unitsOf } from '../layout-units.ts';
import { ParallelLayout } from '../layout.ts';
import type { Coordinates } from '../layout.ts';
import { worldOf } from '../parallelism.ts';
import type { Parallelism } from '../parallelism.ts';
import { activationBytes } from './in-flight.ts';
import type { StageActivations } from './in-flight.ts';
import { gradientBytes, momentBytes, paddedElements, weightBytes } from './memory.ts';
import { rankParameters } from './rank-parameters.ts';
import { stageActivations } from './stage-activations.ts';
import { boundaryBytes, gradientTraffic, tensorTraffic, weightTraffic } from './traffic.ts';
import type { TrafficKind } from './traffic.ts';

export interface PlanRequest {
  readonly model: ModelConfig;
  readonly batch: BatchShape;
  readonly parallelism: Parallelism;
  readonly recompute: 'none' | 'block';
}

/** What the plan needs of a pipeline schedule. */
export interface PipelineOrder {
  /** Rank in the pipeline of each stage. */
  readonly placement: readonly number[];
  /** Of each rank in the pipeline, in the order in which it starts them. */
  readonly actions: readonly (readonly { readonly type: string; readonly stage: number }[])[];
}

export interface RankPlan {
  readonly rank: number;
  readonly at: Coordinates;
  readonly stages: readonly StagePlan[];
  /** Parameter elements that the rank computes with, without padding; with zero 3 it keeps a share of them. */
  readonly parameters: number;
  /** Bytes at the moment when there are most of each; they need not fall together. */
  readonly memory: Readonly<Record<'weights' | 'gradients' | 'moments' | 'activations', number>>;
  /** Bytes sent in one step. */
  readonly sent: Readonly<Record<TrafficKind, number>>;
}

export interface StagePlan {
  readonly stage: number;
  /** Names of its units. */
  readonly units: readonly string[];
}

export interface JobPlan extends PlanRequest {
  readonly world: number;
  /** Grains that each data rank works through in a step. */
  readonly grainsPerRank: number;
  readonly tokensPerGrain: number;
  readonly ranks: readonly RankPlan[];
}

/** Throws WL_MANIFEST_INVALID if the layout is not legal for model and batch. */
export function planJob(request: PlanRequest, orderOf: (grainsPerRank: number) => PipelineOrder): JobPlan {
  const { model, batch, parallelism } = request;
  const world = worldOf(parallelism);
  const layout = new ParallelLayout(parallelism, world);
  layout.validate(model, batch);
  const grainsPerRank = batch.grains / layout.dataRanks;
  const tokensPerGrain = (batch.sequences / batch.grains) * batch.length;
  const context: Context = {
    ...request,
    grainsPerRank,
    tokensPerGrain,
    order: orderOf(grainsPerRank),
    stages: stagesOf(request),
  };
  const ranks = Array.from({ length: world }, (_, rank) => planRank(context, rank, layout.coordinates(rank)));
  return { ...request, world, grainsPerRank, tokensPerGrain, ranks };
}

/** Units of each stage, as ranges of `unitsOf(model)`, cut by estimated cost. */
export function stagesOf({ model, batch, parallelism }: Pick<PlanRequest, 'model' | 'batch' | 'parallelism'>) {
  const costs = unitsOf(model).map(({ kind }) => unitCost(model, batch.length, kind));
  return cutStages(costs, parallelism.pipeline * parallelism.stagesPerRank);
}

interface Context extends PlanRequest {
  readonly grainsPerRank: number;
  readonly tokensPerGrain: number;
  readonly order: PipelineOrder;
  readonly stages: readonly (readonly [begin: number, end: number])[];
}

function planRank(context: Context, rank: number, at: Coordinates): RankPlan {
  const { model, parallelism, grainsPerRank, tokensPerGrain, order } = context;
  const { dataShard } = parallelism;
  const units = unitsOf(model);
  const own = context.stages.flatMap(([begin, end], stage) =>
    order.placement[stage] === at.pipeline ? [{ stage, units: units.slice(begin, end) }] : [],
  );
  const held = rankParameters(
    model,
    own.flatMap((stage) => stage.units),
    at.tensor,
    parallelism.tensor,
  );
  const flat = held.units.map((elements) => paddedElements(elements, dataShard));
  const elements = flat.reduce((sum, size) => sum + size, 0);
  const tiedHead = paddedElements(held.tiedHead, dataShard);
  const kept = new Map<number, StageActivations>(own.map(({ stage, units }) => [stage, stageActivations(context, units)]));
  const kinds = own.flatMap((stage) => stage.units.map(({ kind }) => kind));
  const share = {
    hasEmbedding: kinds.includes('embedding'),
    blocks: kinds.filter((kind) => kind === 'block').length,
    hasHead: kinds.includes('head'),
  };
  return {
    rank,
    at,
    stages: own.map(({ stage, units }) => ({ stage, units: units.map(({ name }) => name) })),
    parameters: held.units.reduce((sum, size) => sum + size, 0),
    memory: {
      weights: weightBytes(flat, parallelism),
      gradients: gradientBytes(elements + tiedHead, grainsPerRank),
      moments: momentBytes(flat, parallelism),
      activations: activationBytes(order.actions[at.pipeline] ?? [], kept),
    },
    sent: {
      ...gradientTraffic(elements + tiedHead, parallelism),
      weightAllGather: weightTraffic(elements, grainsPerRank, parallelism),
      tensor: grainsPerRank * tensorTraffic(model, share, tokensPerGrain, { ...parallelism, recompute: context.recompute }),
      pipeline: grainsPerRank * boundaries(order.placement, at.pipeline) * boundaryBytes(model, tokensPerGrain, parallelism),
      tiedEmbedding: (held.sharedEmbedding * 4) / dataShard,
    },
  };
}

/** How often a grain leaves the rank: forwards to the next stage and backwards to the one before, where that is another rank. */
function boundaries(placement: readonly number[], pipelineRank: number): number {
  let count = 0;
  for (const [stage, rank] of placement.entries()) {
    if (rank !== pipelineRank) continue;
    for (const neighbour of [placement[stage - 1], placement[stage + 1]]) {
      if (neighbour !== undefined && neighbour !== rank) count += 1;
    }
  }
  return count;
}
