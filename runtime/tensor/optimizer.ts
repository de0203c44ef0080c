// AdamW and the global gradient norm, over many tensors at once.
import { empty, emptyIntegers } from './create.ts';
import { ops } from './device.ts';
import type { Device } from './device.ts';
import { scope } from './scope.ts';
import type { Tensor } from './tensor.ts';
import { view } from './views.ts';

/**
 * Square root of the sum of squares over all elements of `tensors`, [1]. Neither their order nor how they are cut changes a bit: ranks that
 * have parts of them get the same from `squaresMax`, its maximum over ranks, `squaresSum` and `normOf` of all totals.
 */
export function globalNorm(device: Device, tensors: readonly Tensor[]): Tensor {
  return scope(() => {
    const largest = squaresMax(device, tensors);
    return normOf(squaresSum(device, tensors, largest), largest);
  });
}

/** The largest magnitude in `tensors`, [1]; NaN if there is one. */
export function squaresMax(device: Device, tensors: readonly Tensor[]): Tensor {
  const largest = empty(device, [1], 'largest magnitude');
  ops.squares_max(device.stream, handlesOf(tensors), largest.handle);
  return largest;
}

/** The sum of squares as an integer, i32 [8] with 16 bits in each word; `largest` is that of all ranks. */
export function squaresSum(device: Device, tensors: readonly Tensor[], largest: Tensor): Tensor {
  const total = emptyIntegers(device, [8], 'sum of squares');
  ops.squares_sum(device.stream, handlesOf(tensors), largest.handle, total.handle);
  return total;
}

/** The norm, [1], from the totals of ranks, i32 [ranks, 8] or [8], and the `largest` they were made with. */
export function normOf(totals: Tensor, largest: Tensor): Tensor {
  const { device } = totals;
  return scope(() => {
    const norm = empty(device, [1], 'global norm');
    ops.norm_finish(device.stream, view(totals, 0, [totals.size / 8, 8]).handle, largest.handle, norm.handle);
    return norm;
  });
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
