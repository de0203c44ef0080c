// How the forward pass stores what operations give: in f32, or rounded to bf16. Sums are f32 either way.
import { empty } from './create.ts';
import { ops } from './device.ts';
import type { Device } from './device.ts';
import { recordingTape } from './tape.ts';
import type { Tensor } from './tensor.ts';

/** What activations are stored in. */
export type Precision = 'f32' | 'bf16';

let current: Precision = 'f32';

/** Runs `fn` with activations stored that way. Synchronous, as a scope is. Gradients and statistics are f32 always. */
export function withPrecision<T>(precision: Precision, fn: () => T): T {
  const outer = current;
  current = precision;
  try {
    return fn();
  } finally {
    current = outer;
  }
}

/** A tensor with undefined values for what an operation of the forward pass gives, under the current scope. Throws WL_OUT_OF_MEMORY. */
export function activation(device: Device, shape: readonly number[], label: string): Tensor {
  return empty(device, shape, label, current);
}

/** x as activations are stored: x itself, or rounded to bf16. For sums over ranks, which are added up in f32. */
export function stored(x: Tensor): Tensor {
  return converted(x, current);
}

/** x in f32, for operations that know no other. */
export function widened(x: Tensor): Tensor {
  return converted(x, 'f32');
}

function converted(x: Tensor, to: Precision): Tensor {
  if (x.dtype === to) return x;
  const y = empty(x.device, x.shape, x.label, to);
  ops.copy(x.device.stream, x.handle, y.handle);
  recordingTape(x)?.push({
    operation: 'convert',
    outputs: [y],
    saved: [],
    backward(gradients) {
      const dy = gradients.of(y);
      if (dy) gradients.give(x, dy);
    },
  });
  return y;
}
