// A bias on its own, for layers whose products are added up over ranks first.
import { ops } from './device.ts';
import { activation } from './precision.ts';
import { recordingTape } from './tape.ts';
import type { Tensor } from './tensor.ts';
import { localTokens } from './token-share.ts';
import type { TokenShare } from './token-share.ts';

/** x + bias, the bits of a bias inside `linear`. x [M, N], bias [N]. */
export function addBias(x: Tensor, bias: Tensor, options: TokenShare = {}): Tensor {
  const { device } = x;
  const y = activation(device, x.shape, 'biased');
  ops.add_bias(device.stream, x.handle, bias.handle, y.handle);
  const tape = recordingTape(x, bias);
  tape?.push({
    operation: 'add_bias',
    outputs: [y],
    saved: [],
    backward(gradients) {
      const dy = gradients.of(y);
      if (!dy) return;
      if (gradients.wants(bias)) {
        gradients.ofWeights([bias], [dy], () => {
          const db = gradients.into(bias);
          const { length, spans } = localTokens(tape, options);
          ops.bias_backward(device.stream, dy.handle, db.tensor.handle, length, spans, db.accumulate);
        });
      }
      gradients.give(x, dy);
    },
  });
  return y;
}
