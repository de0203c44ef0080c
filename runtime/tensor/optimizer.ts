// AdamW and the global gradient norm, over many tensors at once.
import { empty } from './create.ts';
import { ops } from './device.ts';
import type { Device } from './device.ts';
import type { Tensor } from './tensor.ts';

/** Square root of the sum of squares over all elements of `tensors`, [1]; the order of the list counts. */
export function globalNorm(device: Device, tensors: readonly Tensor[]): Tensor {
  const norm = empty(device, [1], 'global norm');
  ops.global_norm(device.stream, handlesOf(tensors), norm.handle);
  return norm;
}

export interface AdamWStep {
  readonly parameters: readonly Tensor[];
  readonly gradients: readonly Tensor[];
  readonly firstMoments: readonly Tensor[];
  readonly secondMoments: readonly Tensor[];
  /** From `globalNorm`, on the device; absent: no clipping. */
  readonly norm?: Tensor;
  readonly clipNorm: number;
  readonly learningRate: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
  /** Counts from 1, for the bias correction. */
  readonly step: number;
}

/** One step of AdamW (Loshchilov and Hutter 2019, algorithm 2) in place; gradients are scaled by min(1, clipNorm / (norm + 1e-6)). */
export function adamW(device: Device, step: AdamWStep): void {
  ops.adamw(
    device.stream,
    handlesOf(step.parameters),
    handlesOf(step.gradients),
    handlesOf(step.firstMoments),
    handlesOf(step.secondMoments),
    step.norm?.handle ?? null,
    step.clipNorm,
    step.learningRate,
    step.beta1,
    step.beta2,
    step.epsilon,
    step.weightDecay,
    step.step,
  );
  for (const parameter of step.parameters) parameter.changed();
}

function handlesOf(tensors: readonly Tensor[]): Uint32Array {
  return Uint32Array.from(tensors, (tensor) => tensor.handle);
}
