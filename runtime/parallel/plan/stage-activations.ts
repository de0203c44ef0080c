// Bytes of activations of one grain in one stage.
import type { ModelConfig } from '#runtime/model/config.ts';
import type { Unit } from '../layout-units.ts';
import type { Parallelism } from '../parallelism.ts';
import {
  blockGradientValues,
  blockInputValues,
  blockOutputValues,
  blockValues,
  embeddingValues,
  headValues,
} from './activations.ts';
import type { StageActivations } from './in-flight.ts';
import { bytesPerValue } from './memory.ts';

export interface StageOptions {
  readonly model: ModelConfig;
  readonly parallelism: Parallelism;
  readonly recompute: 'none' | 'block';
  readonly tokensPerGrain: number;
}

/**
 * Without recomputation all that the blocks save is kept, and their outputs live until the forward pass has ended. With it only what enters
 * the blocks is kept, and one block at a time is there as a whole.
 */
export function stageActivations(options: StageOptions, units: readonly Unit[]): StageActivations {
  const { model, parallelism, recompute, tokensPerGrain } = options;
  const blocks = units.filter(({ kind }) => kind === 'block').length;
  const ends = units.reduce((sum, { kind }) => {
    return sum + (kind === 'embedding' ? embeddingValues : kind === 'head' ? headValues(model, parallelism) : 0);
  }, 0);
  const whole = blockValues(model, parallelism);
  const perBlock = recompute === 'block' ? blockInputValues(model, parallelism, false) : whole;
  const firstIsLess = recompute === 'block' && blocks > 0 ? perBlock - blockInputValues(model, parallelism, true) : 0;
  const backward = blocks > 0 ? blockGradientValues(model, parallelism) : 0;
  const working =
    recompute === 'block'
      ? Math.min(blocks, 1) * whole + backward
      : Math.max(blocks * blockOutputValues(model, parallelism), backward);
  const bytes = (values: number) => values * tokensPerGrain * bytesPerValue;
  return { kept: bytes(blocks * perBlock - firstIsLess + ends), working: bytes(working) };
}
