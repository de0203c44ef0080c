// AdamW over the pieces of parameters that a rank updates.
import type { PieceState } from '#runtime/parallel/main.ts';
import { adamW } from '#runtime/tensor/main.ts';
import type { Device, Tensor } from '#runtime/tensor/main.ts';

export interface AdamWConfig {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  /** Decoupled decay of the parameters whose spec says so: matrices and embeddings, not norms and biases. */
  readonly weightDecay: number;
  /** Global norm above which all gradients are scaled down. */
  readonly clipNorm: number;
}

/** Updates weights and moments in place. `gradients` pair up with `pieces`; `norm` [1] is that of the whole gradient; `step` counts from 1. */
export function updateWeights(
  device: Device,
  pieces: readonly PieceState[],
  gradients: readonly Tensor[],
  { norm, learningRate, step, config }: { norm: Tensor; learningRate: number; step: number; config: AdamWConfig },
): void {
  for (const decays of [true, false]) {
    const chosen = pieces.flatMap(({ piece }, index) => (piece.entry.spec.decay === decays ? [index] : []));
    if (chosen.length === 0) continue;
    const pick = (of: (piece: PieceState, index: number) => Tensor) => chosen.map((index) => of(pieces[index]!, index));
    adamW(device, {
      ...config,
      parameters: pick(({ weight }) => weight),
      gradients: pick((_, index) => gradients[index]!),
      firstMoments: pick(({ first }) => first),
      secondMoments: pick(({ second }) => second),
      weightDecay: decays ? config.weightDecay : 0,
      norm,
      learningRate,
      step,
    });
  }
}
