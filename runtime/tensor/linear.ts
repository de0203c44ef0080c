// The linear layer: y = x wT + bias, with its gradients; the contraction order follows the units of its dims.
import { empty } from './create.ts';
import { ops } from './device.ts';
import { recordingTape } from './tape.ts';
import { Parameter } from './tensor.ts';
import type { Tensor } from './tensor.ts';

/** What spans of a dim are rounded up to: the head size where the dim is made of heads, else 16. */
export interface LinearOptions {
  /** Unit of the input dim K. */
  readonly unit?: number;
  /** Unit of the output dim N. */
  readonly outputUnit?: number;
}

const defaultUnit = 16;

/** x [M, K], w [N, K], bias [N] -> [M, N]. Unrecorded, it uses the packed form of `w` where there is one: the same bits. */
export function linear(x: Tensor, w: Tensor, bias?: Tensor, options: LinearOptions = {}): Tensor {
  const { unit = defaultUnit, outputUnit = defaultUnit } = options;
  const stream = x.device.stream;
  const y = empty(x.device, [...x.leading, w.shape[0] ?? 0], 'linear');
  const tape = recordingTape(x, w, bias);
  const packed = w instanceof Parameter && !tape ? w.packed : undefined;
  if (packed) ops.linear_packed_forward(stream, x.handle, packed.handle, bias?.handle ?? null, y.handle, unit, 8);
  else ops.linear_forward(stream, x.handle, w.handle, bias?.handle ?? null, y.handle, unit, 8);
  tape?.push({
    operation: 'linear',
    outputs: [y],
    saved: [x, w],
    backward(gradients) {
      const dy = gradients.of(y);
      if (!dy) return;
      if (gradients.wants(w)) {
        const dw = gradients.into(w);
        const dbias = bias && gradients.into(bias);
        ops.linear_backward_weight(
          stream,
          dy.handle,
          x.handle,
          dw.tensor.handle,
          dbias?.tensor.handle ?? null,
          tape.length,
          8,
          dw.accumulate,
        );
      }
      if (gradients.wants(x)) {
        const dx = gradients.into(x);
        ops.linear_backward_input(
          stream,
          dy.handle,
          w.handle,
          null,
          null,
          null,
          null,
          dx.tensor.handle,
          outputUnit,
          8,
          dx.accumulate,
        );
      }
    },
  });
  return y;
}
