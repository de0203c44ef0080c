// Bytes that a rank sends in one step, by kind of communication. A collective over n ranks sends (n - 1) / n of its bytes per direction.
import type { ModelConfig } from '#runtime/model/config.ts';
import type { Parallelism } from '../parallelism.ts';
import type { TensorCut } from './activations.ts';
import { bytesPerValue } from './memory.ts';

/** What is sent, and over which axis: gradients and weights within dataShard and dataReplicate, activations within tensor and pipeline. */
export const trafficKinds = [
  'gradientReduceScatter',
  'gradientAllReduce',
  'weightAllGather',
  'tensor',
  'pipeline',
  'tiedEmbedding',
] as const;
export type TrafficKind = (typeof trafficKinds)[number];

/** Reduce-scatter or all-gather of `bytes` (of the whole) over `ranks` ranks. */
export function scatterBytes(bytes: number, ranks: number): number {
  return (bytes * (ranks - 1)) / ranks;
}

/** All-reduce: a reduce-scatter and an all-gather. */
export function allReduceBytes(bytes: number, ranks: number): number {
  return 2 * scatterBytes(bytes, ranks);
}

/**
 * Gradients, once per step: with shards a reduce-scatter among them, then an all-reduce of the own shard among the replicas.
 *
 * @param elements padded elements of the rank's units and of a tied head.
 */
export function gradientTraffic(
  elements: number,
  { dataShard, dataReplicate }: Pick<Parallelism, 'dataShard' | 'dataReplicate'>,
): Pick<Record<TrafficKind, number>, 'gradientReduceScatter' | 'gradientAllReduce'> {
  const bytes = elements * bytesPerValue;
  return {
    gradientReduceScatter: scatterBytes(bytes, dataShard),
    gradientAllReduce: allReduceBytes(bytes / dataShard, dataReplicate),
  };
}

/**
 * Weights: once after the update with zero 1 and 2. With zero 3 before the forward pass and again before the backward pass of each grain, or
 * once per step where they are kept.
 *
 * @param elements padded elements of the rank's units.
 * @param grains of a data rank.
 */
export function weightTraffic(
  elements: number,
  grains: number,
  { dataShard, zero, reshardAfterForward }: Pick<Parallelism, 'dataShard' | 'zero' | 'reshardAfterForward'>,
): number {
  const gathers = zero === 3 && reshardAfterForward ? 2 * grains : 1;
  return gathers * scatterBytes(elements * bytesPerValue, dataShard);
}

/** What of a model a rank computes. */
export interface Share {
  readonly hasEmbedding: boolean;
  readonly blocks: number;
  readonly hasHead: boolean;
}

/**
 * Within the tensor group, per grain of `tokens` tokens: two sums of the hidden states per block and direction, and two more where the forward
 * pass runs again; one after the embedding and one of the gradient before the head; three values per token for the loss. With
 * sequenceParallel each sum is a reduce-scatter and an all-gather, which sends as much, and the gradients of norms are summed as well.
 */
export function tensorTraffic(
  config: ModelConfig,
  share: Share,
  tokens: number,
  options: TensorCut & { readonly recompute: 'none' | 'block' },
): number {
  const { tensor, sequenceParallel, recompute } = options;
  const sums = share.blocks * (recompute === 'block' ? 6 : 4) + Number(share.hasEmbedding) + Number(share.hasHead);
  const loss = share.hasHead ? 3 * tokens : 0;
  const norms = sequenceParallel ? normElements(config, share) : 0;
  return allReduceBytes((sums * tokens * config.hiddenSize + loss + norms) * bytesPerValue, tensor);
}

function normElements({ hiddenSize, norm }: ModelConfig, { blocks, hasHead }: Share): number {
  return (2 * blocks + Number(hasHead)) * (norm.kind === 'layernorm' ? 2 : 1) * hiddenSize;
}

/** One grain's hidden states, or their gradient, from a stage to one on another rank. */
export function boundaryBytes({ hiddenSize }: ModelConfig, tokens: number, { tensor, sequenceParallel }: TensorCut): number {
  return (tokens * hiddenSize * bytesPerValue) / (sequenceParallel ? tensor : 1);
}
