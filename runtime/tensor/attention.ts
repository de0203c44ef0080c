// Rotary positions and causal attention over contiguous sequences; attention over the pages of a cache stands in paged-cache.ts.
import { empty } from './create.ts';
import { ops } from './device.ts';
import { activation } from './precision.ts';
import { recordingTape } from './tape.ts';
import type { Tensor } from './tensor.ts';

/** Cosines and sines of rotary angles, [positions, headSize / 2] each. */
export type RopeTable = { readonly cos: Tensor; readonly sin: Tensor };

export interface AttentionOptions {
  readonly heads: number;
  readonly kvHeads: number;
  /** Factor of the products of queries and keys, usually 1 / sqrt(head size). */
  readonly scale: number;
  /** How many keys, its own the last, a query sees; 0: all before it. All if absent. */
  readonly window?: number;
  /** Slopes of all heads of the model, and which of them the first one here is: linear biases by distance (Press et al. 2022). */
  readonly slopes?: { readonly of: Tensor; readonly firstHead: number } | undefined;
}

/** Turns each head of x [M, heads * headSize] by the angle of its position (first half with second half). positions [M], i32. */
export function rope(x: Tensor, positions: Tensor, table: RopeTable): Tensor {
  const turn = (from: Tensor, to: Tensor, inverse: 0 | 1) =>
    ops.rope(from.device.stream, from.handle, positions.handle, table.cos.handle, table.sin.handle, to.handle, inverse);
  const y = activation(x.device, x.shape, 'rope');
  turn(x, y, 0);
  recordingTape(x)?.push({
    operation: 'rope',
    outputs: [y],
    saved: [positions, table.cos, table.sin],
    backward(gradients) {
      const dy = gradients.of(y);
      if (!dy) return;
      const dx = empty(x.device, x.shape, 'gradient of rope');
      turn(dy, dx, 1);
      gradients.give(x, dx);
    },
  });
  return y;
}

/** Causal attention within each run of `length` rows. q [M, heads * headSize], k and v [M, kvHeads * headSize] -> as q. */
export function causalAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: AttentionOptions & { readonly length: number },
): Tensor {
  const { heads, kvHeads, scale, length, window = 0, slopes } = options;
  const firstHead = slopes?.firstHead ?? 0;
  const { device } = q;
  const out = activation(device, q.shape, 'attention');
  const lse = empty(device, [...q.leading, heads], 'attention log sums');
  ops.attention_forward(
    device.stream,
    q.handle,
    k.handle,
    v.handle,
    out.handle,
    lse.handle,
    slopes?.of.handle ?? null,
    length,
    kvHeads,
    scale,
    window,
    firstHead,
  );
  const tape = recordingTape(q, k, v);
  tape?.push({
    operation: 'attention',
    outputs: [out],
    saved: [q, k, v, out, lse, ...(slopes ? [slopes.of] : [])],
    backward(gradients) {
      const dout = gradients.of(out);
      if (!dout) return;
      const dq = empty(device, q.shape, 'gradient of queries');
      const dk = empty(device, k.shape, 'gradient of keys');
      const dv = empty(device, v.shape, 'gradient of values');
      ops.attention_backward(
        device.stream,
        dout.handle,
        q.handle,
        k.handle,
        v.handle,
        out.handle,
        lse.handle,
        slopes?.of.handle ?? null,
        dq.handle,
        dk.handle,
        dv.handle,
        length,
        kvHeads,
        scale,
        window,
        firstHead,
      );
      gradients.give(q, dq);
      gradients.give(k, dk);
      gradients.give(v, dv);
    },
  });
  if (!tape) lse.dispose();
  return out;
}
