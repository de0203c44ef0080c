// What each rank of a job holds, keeps in memory and sends, computed from the layout alone: nothing is run.
import type { ModelConfig } from '#runtime/model/config.ts';
import type { BatchShape } from '../layout-faults.ts';
import { pipelineSchedule } from '../pipeline-schedule.ts';
import { modelStages } from '../layout-stages.ts';
import { layerOf, unitCost, unitsOf } from '../layout-units.ts';
import { withShards } from '../layout-schedule.ts';
import { ParallelLayout } from '../layout.ts';
import type { Coordinates } from '../layout.ts';
import { worldOf } from '../parallelism.ts';
import type { Parallelism } from '../parallelism.ts';
import { simulate } from '../schedule/main.ts';
import type { Schedule, StageCost } from '../schedule/main.ts';
import type { Recompute } from '#runtime/model/forward.ts';
import { addsTableGradient } from '../execution/table-gradient.ts';
import { distinctRuns, heldUnits, runElements, summedUnits } from './flat-runs.ts';
import type { HeldUnit } from './flat-runs.ts';
import { gradientBytes, momentBytes, weightBytes, weightSlots } from './memory.ts';
import { activationBytes, gatherCounts } from './order.ts';
import { stageActivations } from './stage-activations.ts';
import { boundaryBytes, gradientTraffic, tensorTraffic, tiedTraffic, weightTraffic } from './traffic.ts';
import type { TrafficKind } from './traffic.ts';

export interface PlanRequest {
  readonly model: ModelConfig;
  readonly batch: BatchShape;
  readonly parallelism: Parallelism;
  readonly recompute: Recompute | ((layer: number) => Recompute);
  /** What activations are stored in, f32 if absent. */
  readonly precision?: 'f32' | 'bf16' | undefined;
}

export interface RankPlan {
  readonly rank: number;
  readonly at: Coordinates;
  readonly stages: readonly StagePlan[];
  /** Parameters that the rank computes with, without padding; with zero 3 it keeps a share of them. */
  readonly parameters: number;
  /** Bytes at the moment when there are most of each; they need not fall together. */
  readonly memory: Readonly<Record<MemoryKind, number>>;
  /** Bytes sent in one step. */
  readonly sent: Readonly<Record<TrafficKind, number>>;
}

export const memoryKinds = ['weights', 'gradients', 'moments', 'activations'] as const;
export type MemoryKind = (typeof memoryKinds)[number];

interface StagePlan {
  readonly stage: number;
  /** Names of its units. */
  readonly units: readonly string[];
}

export interface JobPlan extends Omit<PlanRequest, 'recompute'> {
  readonly world: number;
  /** Grains that each data rank works through in a step. */
  readonly grainsPerRank: number;
  readonly tokensPerGrain: number;
  readonly ranks: readonly RankPlan[];
  readonly schedule: Schedule;
  /** Units of each stage: 0 is the embedding, the head comes last. */
  readonly stageUnits: readonly (readonly [first: number, end: number])[];
  /** Estimated floating-point operations of each stage for one grain. */
  readonly stageCosts: readonly StageCost[];
  /** Share of the step in which ranks wait for each other in the pipeline, 0 to 1; sending is taken as free. */
  readonly bubble: number;
}

/** Throws WL_MANIFEST_INVALID if the layout is not legal for model and batch. */
export function planJob(request: PlanRequest): JobPlan {
  const { model, batch, parallelism, recompute, precision } = request;
  const world = worldOf(parallelism);
  const layout = new ParallelLayout(parallelism, world);
  layout.validate(model, batch);
  const grainsPerRank = batch.grains / layout.dataRanks;
  const schedule = pipelineSchedule(parallelism, batch.grains);
  const context: Context = {
    model,
    parallelism,
    precision,
    recompute: typeof recompute === 'string' ? () => recompute : recompute,
    grainsPerRank,
    tokensPerGrain: (batch.sequences / batch.grains) * batch.length,
    schedule,
    stages: modelStages(model, batch.length, schedule.stages, parallelism.stageLayers),
  };
  const stageCosts = costsOf(context, batch.length);
  return {
    model,
    batch,
    parallelism,
    precision,
    world,
    grainsPerRank,
    tokensPerGrain: context.tokensPerGrain,
    ranks: planRanks(context, layout),
    schedule,
    stageUnits: context.stages,
    stageCosts,
    bubble: simulate(schedule, stageCosts).bubble,
  };
}

interface Context {
  readonly model: ModelConfig;
  readonly parallelism: Parallelism;
  readonly precision: PlanRequest['precision'];
  readonly recompute: (layer: number) => Recompute;
  readonly grainsPerRank: number;
  readonly tokensPerGrain: number;
  readonly schedule: Schedule;
  readonly stages: readonly (readonly [first: number, end: number])[];
}

/** Ranks that differ in their data only hold and send the same. */
function planRanks(context: Context, layout: ParallelLayout): RankPlan[] {
  const known = new Map<string, Omit<RankPlan, 'rank' | 'at'>>();
  return Array.from({ length: layout.world }, (_, rank) => {
    const at = layout.coordinates(rank);
    const key = `${at.pipeline} ${at.tensor}`;
    const plan = known.get(key) ?? planPlace(context, at);
    known.set(key, plan);
    return { rank, at, ...plan };
  });
}

function planPlace(context: Context, at: Pick<Coordinates, 'pipeline' | 'tensor'>): Omit<RankPlan, 'rank' | 'at'> {
  const { model, precision, grainsPerRank, tokensPerGrain, schedule } = context;
  const parallelism = { ...context.parallelism, precision };
  const actions = withShards(schedule, parallelism).actions[at.pipeline] ?? [];
  const numbers = [...schedule.placement.keys()].filter((stage) => schedule.placement[stage] === at.pipeline);
  const units = unitsOf(model);
  const stageOf = new Map(
    numbers.flatMap((stage) => units.slice(...context.stages[stage]!).map((unit) => [unit, stage] as const)),
  );
  const held = heldUnits(model, [...stageOf.keys()], at.tensor, parallelism);
  const unitsIn = (stage: number) => held.filter(({ unit }) => stageOf.get(unit) === stage);
  const byStage = <T>(of: (units: HeldUnit[]) => T) => new Map(numbers.map((stage) => [stage, of(unitsIn(stage))]));
  const activations = byStage((own) =>
    stageActivations(
      { ...context, cut: parallelism },
      own.map(({ unit }) => unit),
    ),
  );
  const head = held.find(({ unit }) => unit.kind === 'head');
  const gathers = gatherCounts(
    actions,
    byStage((own) => own),
    head,
    weightSlots(held.length, parallelism),
  );
  return {
    stages: numbers.map((stage) => ({ stage, units: unitsIn(stage).map(({ unit }) => unit.name) })),
    parameters: distinctRuns(held).reduce((sum, run) => sum + runElements(run), 0),
    memory: {
      weights: weightBytes(held, parallelism),
      gradients: gradientBytes(
        actions,
        byStage((own) => (addsTableGradient(parallelism, grainsPerRank) ? summedUnits(own) : own)),
        parallelism,
      ),
      moments: momentBytes(held),
      activations: activationBytes(actions, activations),
    },
    sent: {
      ...gradientTraffic(held, parallelism, grainsPerRank),
      weightAllGather: weightTraffic(held, parallelism, (unit) => gathers.get(unit) ?? 0),
      tensor: grainsPerRank * tensorTraffic(model, held, tokensPerGrain, { ...parallelism, recompute: context.recompute }),
      pipeline: grainsPerRank * boundaryBytesOf(schedule.placement, at.pipeline, context),
      tiedEmbedding: tiedTraffic(held, model.tieEmbeddings),
    },
  };
}

/** What of a grain leaves the rank: activations to the next stage and their gradients to the one before, where that is another rank. */
function boundaryBytesOf(placement: readonly number[], pipelineRank: number, context: Context): number {
  const { model, tokensPerGrain, parallelism, precision } = context;
  const forward = boundaryBytes(model, tokensPerGrain, { ...parallelism, precision });
  const backward = boundaryBytes(model, tokensPerGrain, parallelism);
  let bytes = 0;
  for (const [stage, rank] of placement.entries()) {
    if (rank !== pipelineRank) continue;
    const isElsewhere = (neighbour: number | undefined) => neighbour !== undefined && neighbour !== rank;
    bytes += (isElsewhere(placement[stage + 1]) ? forward : 0) + (isElsewhere(placement[stage - 1]) ? backward : 0);
  }
  return bytes;
}

/** A third of a unit's cost is its forward pass, a third each of its gradients; what runs again adds to the input gradient. */
function costsOf({ model, stages, recompute, tokensPerGrain, parallelism }: Context, length: number): StageCost[] {
  const units = unitsOf(model);
  return stages.map(([first, end]) => {
    const own = units.slice(first, end).map((unit) => {
      const cost = (unitCost(model, length, unit.kind) * tokensPerGrain) / parallelism.tensor / 3;
      const again = unit.kind === 'block' ? cost * recomputedShare(recompute(layerOf(unit))) : 0;
      return { cost, again };
    });
    const cost = own.reduce((sum, unit) => sum + unit.cost, 0);
    const again = own.reduce((sum, unit) => sum + unit.again, 0);
    return { forward: cost, backwardInput: cost + again, backwardWeight: cost };
  });
}

function recomputedShare(recompute: Recompute): number {
  return { none: 0, attention: 1 / 2, mlp: 1 / 2, block: 1 }[recompute];
}
