// Bytes that a rank sends in one step, by kind of communication. A collective over n ranks sends (n - 1) / n of its bytes per direction.
import type { ModelConfig } from '#runtime/model/config.ts';
import type { Parallelism } from '../parallelism.ts';
import { layerOf } from '../layout-units.ts';
import type { Unit } from '../layout-units.ts';
import { streamValues } from './activations.ts';
import type { Recompute } from '#runtime/model/forward.ts';
import type { TensorCut } from './activations.ts';
import { distinctRuns, unitSize } from './flat-runs.ts';
import type { HeldUnit } from './flat-runs.ts';
import { bytesPerValue, shardsWeights } from './memory.ts';

/** What is sent, and over which axis: gradients and weights within dataShard and dataReplicate, activations within tensor and pipeline. */
export type TrafficKind =
  | 'gradientReduceScatter'
  | 'gradientAllReduce'
  | 'weightAllGather'
  | 'tensor'
  | 'pipeline'
  | 'tiedEmbedding';

/** Reduce-scatter or all-gather of `bytes` (of the whole) over `ranks` ranks. */
function scatterBytes(bytes: number, ranks: number): number {
  return (bytes * (ranks - 1)) / ranks;
}

/** All-reduce: a reduce-scatter and an all-gather. */
function allReduceBytes(bytes: number, ranks: number): number {
  return 2 * scatterBytes(bytes, ranks);
}

/**
 * Gradients: with shards a reduce-scatter among them, once per step or with reduceEveryGrain for each grain of a rank; then an all-reduce of the
 * own shard among the replicas. The two gradients of a tied table count as two.
 */
export function gradientTraffic(
  held: readonly HeldUnit[],
  { dataShard, dataReplicate, reduceEveryGrain }: Pick<Parallelism, 'dataShard' | 'dataReplicate' | 'reduceEveryGrain'>,
  grainsPerRank: number,
): Pick<Record<TrafficKind, number>, 'gradientReduceScatter' | 'gradientAllReduce'> {
  const bytes = sum(held.map(unitSize)) * bytesPerValue;
  return {
    gradientReduceScatter: (reduceEveryGrain ? grainsPerRank : 1) * scatterBytes(bytes, dataShard),
    gradientAllReduce: allReduceBytes(bytes / dataShard, dataReplicate),
  };
}

/**
 * Weights: gathered once after the update with zero 1 and 2, and with zero 3 whenever a unit is not in one of the slots; with reshardWithin from
 * all shards only the first time, then from neighbours.
 *
 * @param gathersOf how often a unit is gathered in a step with zero 3.
 */
export function weightTraffic(
  held: readonly HeldUnit[],
  parallelism: Pick<Parallelism, 'dataShard' | 'zero' | 'reshardWithin'>,
  gathersOf: (unit: HeldUnit) => number,
): number {
  const { dataShard, reshardWithin = dataShard } = parallelism;
  const once = sum(distinctRuns(held).map(({ size }) => size)) * bytesPerValue;
  const first = scatterBytes(once, dataShard);
  if (!shardsWeights(parallelism)) return first;
  const all = sum(held.map((unit) => gathersOf(unit) * unitSize(unit))) * bytesPerValue;
  return first + scatterBytes(all - once, reshardWithin);
}

/**
 * Within the tensor group, per grain of `tokens` tokens: two sums of the hidden states per block and direction, and one more for each half of
 * a block that runs again; one after the embedding and one of the gradient before the head; three values per token for the loss. With
 * sequenceParallel each sum is a reduce-scatter and an all-gather, which sends as much, or less where activations are bf16: sums stay f32. The
 * gradients of what all ranks hold are summed too.
 */
export function tensorTraffic(
  config: ModelConfig,
  held: readonly HeldUnit[],
  tokens: number,
  { tensor, sequenceParallel, precision, recompute }: TensorCut & { readonly recompute: (layer: number) => Recompute },
): number {
  const forward = sequenceParallel && precision === 'bf16' ? 0.75 : 1;
  const sumsOf = {
    embedding: () => 1,
    block: (unit: Unit) => 2 + (2 + halvesAgain[recompute(layerOf(unit))]) * forward,
    head: () => forward,
  };
  const sums = held.map(({ unit }) => sumsOf[unit.kind](unit));
  const loss = held.some(({ unit }) => unit.kind === 'head') ? 3 * tokens : 0;
  const copies = sequenceParallel ? sum(held.flatMap(({ runs }) => runs.map(({ replicatedSize }) => replicatedSize))) : 0;
  return allReduceBytes((sum(sums) * tokens * config.hiddenSize + loss + copies) * bytesPerValue, tensor);
}

const halvesAgain: Readonly<Record<Recompute, number>> = { none: 0, attention: 1, mlp: 1, block: 2 };

/** One grain's hidden states, or their gradient, from a stage to one on another rank. */
export function boundaryBytes(config: ModelConfig, tokens: number, cut: TensorCut): number {
  return tokens * streamValues(config, cut) * bytesPerValue;
}

/** The gradient of the table of a tied head between the two ranks that hold it, of the own shard: an all-reduce of two. */
export function tiedTraffic(held: readonly HeldUnit[], isTied: boolean): number {
  const kinds = held.map(({ unit }) => unit.kind);
  if (!isTied || kinds.includes('embedding') === kinds.includes('head')) return 0;
  const table = distinctRuns(held).find(({ name }) => name === 'embedding.tokens');
  return allReduceBytes((table?.shardSize ?? 0) * bytesPerValue, 2);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
