// Bytes of activations of one grain in one stage.
import type { ModelConfig } from '#runtime/model/config.ts';
import { layerOf } from '../layout-units.ts';
import type { Unit } from '../layout-units.ts';
import {
  blockAgainValues,
  blockDeferredValues,
  blockGradientValues,
  blockPassingValues,
  blockValues,
  headValues,
  streamValues,
} from './activations.ts';
import type { Recompute } from '#runtime/model/forward.ts';
import type { TensorCut } from './activations.ts';
import { bytesPerValue } from './memory.ts';
import type { StageActivations } from './order.ts';

export interface StageOptions {
  readonly model: ModelConfig;
  readonly cut: TensorCut;
  /** By layer. */
  readonly recompute: (layer: number) => Recompute;
  readonly tokensPerGrain: number;
}

/**
 * A stage keeps what its blocks keep, token ids and positions where they are used, and its output until the backward pass: the sum of the
 * stream, or in the last stage both of its addends, from which the loss is computed right before the backward pass. What the loss makes lives
 * until that has ended.
 */
export function stageActivations(
  { model, cut, recompute, tokensPerGrain }: StageOptions,
  units: readonly Unit[],
): StageActivations {
  const layers = units.filter(({ kind }) => kind === 'block').map(layerOf);
  const [isFirst, isLast] = [units[0]?.kind === 'embedding', units.at(-1)?.kind === 'head'];
  const stream = streamValues(model, cut);
  const integers = Number(isFirst) + Number(model.positions.kind === 'rope' ? layers.length > 0 : isFirst);
  /** Whether a block gives its output as two addends that nothing in it keeps. */
  const splitsAtEnd = (layer: number | undefined) => layer !== undefined && ['block', 'attention'].includes(recompute(layer));
  let kept = integers + stream;
  for (const [index, layer] of layers.entries()) {
    kept += blockValues(model, cut, recompute(layer));
    // What enters a stage is one tensor, not two addends.
    if (index === 0 && splitsAtEnd(layer)) kept -= stream;
  }
  if (isLast && splitsAtEnd(layers.at(-1))) kept += stream;
  /** What nothing saves lives until the forward pass of the stage has ended: outputs of MLPs, and the parts of an embedding. */
  const outputs = layers.filter((layer) => !splitsAtEnd(layer)).length;
  const embedding = isFirst && model.positions.kind === 'learned' ? 2 * stream : 0;
  const forward = outputs * stream + embedding + (layers.length > 0 ? blockPassingValues(model, cut) : 0);
  const backward = Math.max(
    0,
    ...layers.map((layer) => blockAgainValues(model, cut, recompute(layer)) + blockGradientValues(model, cut)),
  );
  const deferred = layers.length * blockDeferredValues(model, cut) + (isFirst ? 1 + stream : 0);
  const bytes = (values: number) => values * tokensPerGrain * bytesPerValue;
  const loss = isLast ? bytes(headValues(model, cut)) : 0;
  return {
    kept: bytes(kept),
    deferred: bytes(deferred),
    working: Math.max(bytes(forward), bytes(backward) + loss),
    // What weight gradients need of a block that runs again is among what it holds.
    deferring: bytes(Math.max(0, backward - blockDeferredValues(model, cut))) + loss,
  };
}
