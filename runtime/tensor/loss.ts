// Cross-entropy fused with the projection onto the vocabulary: logits never exist as a whole while training.
import { empty } from './create.ts';
import { ops } from './device.ts';
import { recordingTape } from './tape.ts';
import { Parameter } from './tensor.ts';
import type { Tensor } from './tensor.ts';

/**
 * losses[t] = -log softmax(h[t] wT)[targets[t]] in nats, 0 where the target is negative. h [M, D], w [V, D], targets [M] i32 -> [M].
 * When recorded, the gradients of `weight * sum(losses)` are computed at once and kept for the backward pass, which starts from the result;
 * that of a parameter whose gradient has memory already goes there.
 *
 * @param options.weight factor of the gradients, usually 1 / (tokens that count in the whole step).
 */
export function crossEntropy(h: Tensor, w: Tensor, targets: Tensor, options: { readonly weight: number }): Tensor {
  const { device } = h;
  const losses = empty(device, targets.shape, 'losses');
  const tape = recordingTape(h, w);
  if (!tape) {
    ops.cross_entropy_forward(device.stream, h.handle, w.handle, targets.handle, losses.handle);
    return losses;
  }
  const dh = empty(device, h.shape, 'gradient of hidden states');
  const target = w instanceof Parameter && !w.gradBegun ? w.gradTarget : undefined;
  const dw = target ?? empty(device, w.shape, 'gradient of head');
  ops.cross_entropy_fused(
    device.stream,
    h.handle,
    w.handle,
    targets.handle,
    losses.handle,
    dh.handle,
    dw.handle,
    options.weight,
    tape.length,
    0,
  );
  tape.push({
    operation: 'cross_entropy',
    outputs: [losses],
    saved: target ? [dh] : [dh, dw],
    startsBackward: true,
    backward(gradients) {
      gradients.give(h, dh);
      if (!gradients.isThere(w, target)) gradients.give(w, dw);
    },
  });
  return losses;
}

/** Sum of all elements in a fixed order, [1]. Not differentiable. */
export function sum(x: Tensor): Tensor {
  const y = empty(x.device, [1], 'sum');
  ops.sum(x.device.stream, x.handle, y.handle);
  return y;
}
