// RMSNorm and LayerNorm, alone or fused with the residual addition before them.
import { empty } from './create.ts';
import { ops } from './device.ts';
import { activation } from './precision.ts';
import { recordingTape } from './tape.ts';
import type { Tensor } from './tensor.ts';
import { allSpans, localTokens } from './token-share.ts';
import type { TokenShare } from './token-share.ts';
import { view } from './views.ts';

/** A residual sum and its norm. */
export type AddedNorm = { readonly sum: Tensor; readonly normed: Tensor };

interface RmsNormOptions extends TokenShare {
  /** Added to the weights; 0 if absent. */
  readonly offset?: number;
}

/** y = x / rms(x) * (w + offset). x [M, D], w [D]. Zhang and Sennrich 2019, equation 4, with epsilon inside the root. */
export function rmsNorm(x: Tensor, w: Tensor, epsilon: number, options: RmsNormOptions = {}): Tensor {
  return rms(x, undefined, w, epsilon, options).normed;
}

interface HeadNormOptions {
  readonly epsilon: number;
  readonly offset?: number;
  /** Ranks that hold an even share of the heads each; 1 if absent. */
  readonly ranks?: number;
  /** Adds up the gradients of w over them; where absent, what w gets is the gradient of the heads here. */
  readonly sumOverHeads?: ((gradient: Tensor) => Tensor) | undefined;
}

/**
 * RMSNorm of each head of x [M, heads * D], all by the same w [D]. The gradient of w is summed over all tokens in spans of heads, so that ranks
 * which share the heads add up to the sum of one.
 */
export function rmsNormHeads(x: Tensor, w: Tensor, options: HeadNormOptions): Tensor {
  const { epsilon, offset = 0, ranks = 1, sumOverHeads } = options;
  const { device } = x;
  const shape = [x.size / w.size, w.size];
  const heads = x.columns / w.size;
  const normed = activation(device, x.shape, 'head norm');
  const inverse = empty(device, [x.size / w.size], 'inverse rms of heads');
  using headsOfX = view(x, 0, shape);
  using headsOfY = view(normed, 0, shape);
  const { stream } = device;
  ops.rms_norm_forward(stream, headsOfX.handle, null, w.handle, null, headsOfY.handle, inverse.handle, epsilon, offset);
  const tape = recordingTape(x, w);
  tape?.push({
    operation: 'rms_norm_heads',
    outputs: [normed],
    saved: [x, w, inverse],
    backward(gradients) {
      const dy = gradients.of(normed);
      if (!dy) return;
      const dw = sumOverHeads ? { tensor: empty(device, w.shape, 'gradient of own heads'), accumulate: 0 } : gradients.into(w);
      const dx = empty(device, x.shape, 'gradient of head norm');
      ops.rms_norm_backward(
        device.stream,
        view(dy, 0, shape).handle,
        view(x, 0, shape).handle,
        w.handle,
        inverse.handle,
        null,
        view(dx, 0, shape).handle,
        dw.tensor.handle,
        heads,
        allSpans / ranks,
        dw.accumulate,
        offset,
      );
      if (sumOverHeads) gradients.give(w, sumOverHeads(dw.tensor));
      gradients.give(x, dx);
    },
  });
  if (!tape) inverse.dispose();
  return normed;
}

/** sum = x + residual, normed = rmsNorm(sum). */
export function addRmsNorm(x: Tensor, residual: Tensor, w: Tensor, epsilon: number, options: RmsNormOptions = {}): AddedNorm {
  return rms(x, residual, w, epsilon, options);
}

/** y = (x - mean) / sqrt(variance + epsilon) * w + b. x [M, D], w [D], b [D]. Ba et al. 2016. */
export function layerNorm(x: Tensor, w: Tensor, b: Tensor | undefined, epsilon: number, options: TokenShare = {}): Tensor {
  return layer(x, undefined, w, b, epsilon, options).normed;
}

/** sum = x + residual, normed = layerNorm(sum). */
export function addLayerNorm(
  x: Tensor,
  residual: Tensor,
  w: Tensor,
  b: Tensor | undefined,
  epsilon: number,
  options: TokenShare = {},
): AddedNorm {
  return layer(x, residual, w, b, epsilon, options);
}

function rms(x: Tensor, residual: Tensor | undefined, w: Tensor, epsilon: number, options: RmsNormOptions): AddedNorm {
  const { device } = x;
  const { offset = 0 } = options;
  const sum = residual ? activation(device, x.shape, 'residual sum') : x;
  const normed = activation(device, x.shape, 'rms norm');
  const inverse = empty(device, x.leading, 'inverse rms');
  const h = residual ? sum.handle : null;
  ops.rms_norm_forward(
    device.stream,
    x.handle,
    residual?.handle ?? null,
    w.handle,
    h,
    normed.handle,
    inverse.handle,
    epsilon,
    offset,
  );
  const tape = recordingTape(x, residual, w);
  tape?.push({
    operation: 'rms_norm',
    outputs: residual ? [sum, normed] : [normed],
    saved: [sum, w, inverse],
    backward(gradients) {
      const dsum = residual && gradients.of(sum);
      const dy = gradients.of(normed);
      let dx = dsum;
      if (dy) {
        const dw = gradients.into(w);
        const { length, spans } = localTokens(tape, options);
        dx = empty(device, x.shape, 'gradient of rms norm');
        ops.rms_norm_backward(
          device.stream,
          dy.handle,
          sum.handle,
          w.handle,
          inverse.handle,
          dsum?.handle ?? null,
          dx.handle,
          dw.tensor.handle,
          length,
          spans,
          dw.accumulate,
          offset,
        );
      }
      if (!dx) return;
      gradients.give(x, dx);
      if (residual) gradients.give(residual, dx);
    },
  });
  if (!tape) inverse.dispose();
  return { sum, normed };
}

function layer(
  x: Tensor,
  residual: Tensor | undefined,
  w: Tensor,
  b: Tensor | undefined,
  epsilon: number,
  options: TokenShare,
): AddedNorm {
  const { device } = x;
  const sum = residual ? activation(device, x.shape, 'residual sum') : x;
  const normed = activation(device, x.shape, 'layer norm');
  const mean = empty(device, x.leading, 'mean');
  const inverse = empty(device, x.leading, 'inverse deviation');
  ops.layer_norm_forward(
    device.stream,
    x.handle,
    residual?.handle ?? null,
    w.handle,
    b?.handle ?? null,
    residual ? sum.handle : null,
    normed.handle,
    mean.handle,
    inverse.handle,
    epsilon,
  );
  const tape = recordingTape(x, residual, w, b);
  tape?.push({
    operation: 'layer_norm',
    outputs: residual ? [sum, normed] : [normed],
    saved: [sum, w, mean, inverse],
    backward(gradients) {
      const dsum = residual && gradients.of(sum);
      const dy = gradients.of(normed);
      let dx = dsum;
      if (dy) {
        const dw = gradients.into(w);
        const { length, spans } = localTokens(tape, options);
        const db = b && gradients.into(b);
        dx = empty(device, x.shape, 'gradient of layer norm');
        ops.layer_norm_backward(
          device.stream,
          dy.handle,
          sum.handle,
          w.handle,
          mean.handle,
          inverse.handle,
          dsum?.handle ?? null,
          dx.handle,
          dw.tensor.handle,
          db?.tensor.handle ?? null,
          length,
          spans,
          dw.accumulate,
        );
      }
      if (!dx) return;
      gradients.give(x, dx);
      if (residual) gradients.give(residual, dx);
    },
  });
  if (!tape) {
    mean.dispose();
    inverse.dispose();
  }
  return { sum, normed };
}
