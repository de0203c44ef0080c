// Mixture of experts: the choice of experts for each token, the way of tokens to them and back, and the linear layers of all experts.
import { empty, emptyIntegers } from './create.ts';
import { ops } from './device.ts';
import { recordingTape } from './tape.ts';
import { Parameter } from './tensor.ts';
import type { Tensor } from './tensor.ts';

/** Where M tokens go, each to K of E experts. A slot is a token's way through one expert; slots are in order of experts, then of tokens. */
export interface Routing {
  /** f32 [M, K]: factor of each choice, 1 in sum. Differentiable. */
  readonly weights: Tensor;
  /** i32 [M, K]: slot of each choice. */
  readonly slotOf: Tensor;
  /** i32 [M * K]: token of each slot. */
  readonly tokens: Tensor;
  /** i32 [E]: slots of expert e are ends[e - 1] .. ends[e]. */
  readonly ends: Tensor;
}

export interface RouteOptions {
  /** Experts per token. */
  readonly perToken: number;
  /**
   * Factors of two losses whose gradients the backward pass adds to that of the logits: E * sum over experts of (slots per token * mean
   * probability), Fedus et al. 2022, and the mean square of the log sums, Zoph et al. 2022.
   */
  readonly balance: number;
  readonly z: number;
}

/** Softmax over all experts, the `perToken` largest of each token, renormalised to a sum of 1. logits [M, E]. */
export function route(logits: Tensor, { perToken, balance, z }: RouteOptions): Routing {
  const { device } = logits;
  const rows = logits.size / logits.columns;
  const probabilities = empty(device, logits.shape, 'router probabilities');
  const choices = emptyIntegers(device, [rows, perToken], 'chosen experts');
  const weights = empty(device, [rows, perToken], 'expert weights');
  const slotOf = emptyIntegers(device, [rows, perToken], 'slots of tokens');
  const tokens = emptyIntegers(device, [rows * perToken], 'tokens of slots');
  const ends = emptyIntegers(device, [logits.columns], 'ends of experts');
  ops.route_forward(
    device.stream,
    logits.handle,
    probabilities.handle,
    choices.handle,
    weights.handle,
    slotOf.handle,
    tokens.handle,
    ends.handle,
  );
  recordingTape(logits)?.push({
    operation: 'route',
    outputs: [weights],
    saved: [logits, probabilities, choices, weights, ends],
    backward(gradients) {
      const dweights = gradients.of(weights);
      if (!dweights) return;
      const dlogits = empty(device, logits.shape, 'gradient of router logits');
      ops.route_backward(
        device.stream,
        dweights.handle,
        logits.handle,
        probabilities.handle,
        choices.handle,
        weights.handle,
        ends.handle,
        dlogits.handle,
        balance,
        z,
      );
      gradients.give(logits, dlogits);
    },
  });
  return { weights, slotOf, tokens, ends };
}

/** The rows of tokens by slot: x [M, D] -> [M * K, D]. */
export function dispatch(x: Tensor, { tokens, slotOf }: Routing): Tensor {
  const { device } = x;
  const y = empty(device, [tokens.size, x.columns], 'dispatched');
  ops.dispatch_forward(device.stream, x.handle, tokens.handle, y.handle);
  recordingTape(x)?.push({
    operation: 'dispatch',
    outputs: [y],
    saved: [slotOf],
    backward(gradients) {
      const dy = gradients.of(y);
      if (!dy) return;
      const dx = empty(device, x.shape, 'gradient of dispatched');
      ops.dispatch_backward(device.stream, dy.handle, slotOf.handle, dx.handle);
      gradients.give(x, dx);
    },
  });
  return y;
}

/** What the experts of each token gave, times their weights: x [M * K, D] -> [M, D]. */
export function combine(x: Tensor, { weights, slotOf }: Routing): Tensor {
  const { device } = x;
  const y = empty(device, [...weights.leading, x.columns], 'combined');
  ops.combine_forward(device.stream, x.handle, weights.handle, slotOf.handle, y.handle);
  recordingTape(x, weights)?.push({
    operation: 'combine',
    outputs: [y],
    saved: [x, weights, slotOf],
    backward(gradients) {
      const dy = gradients.of(y);
      if (!dy) return;
      const dx = empty(device, x.shape, 'gradient of expert outputs');
      const dweights = empty(device, weights.shape, 'gradient of expert weights');
      ops.combine_backward(device.stream, dy.handle, x.handle, weights.handle, slotOf.handle, dx.handle, dweights.handle);
      gradients.give(x, dx);
      gradients.give(weights, dweights);
    },
  });
  return y;
}

/**
 * One or two layers of every expert on the slots that are its own: x [M * K, I] -> [M * K, O] of each layer. `experts[e]` are the weights [O, I]
 * of expert e. Unrecorded, packed forms are used where there are any: the same bits.
 */
export function expertLinears(x: Tensor, { ends }: Routing, experts: readonly (readonly Tensor[])[]): Tensor[] {
  const { device } = x;
  const [first = []] = experts;
  const tape = recordingTape(x, ...experts.flat());
  const rows = x.size / x.columns;
  const outputs = first.map((weight) => empty(device, [rows, weight.shape[0] ?? 0], 'expert layer'));
  for (const [expert, weights] of experts.entries()) {
    for (const [layer, weight] of weights.entries()) {
      const packed = weight instanceof Parameter && !tape ? weight.packed : undefined;
      const plain = packed ? null : weight.handle;
      ops.expert_forward(device.stream, x.handle, ends.handle, plain, packed?.handle ?? null, outputs[layer]!.handle, expert);
    }
  }
  tape?.push({
    operation: 'expert_linear',
    outputs,
    saved: [x, ends, ...experts.flat()],
    backward(gradients) {
      const [dy, dy2] = outputs.map((output) => gradients.of(output));
      if (!dy) return;
      for (const [expert, weights] of experts.entries()) {
        for (const [layer, weight] of weights.entries()) {
          const gradient = layer === 0 ? dy : dy2;
          if (!gradient) continue;
          gradients.ofWeights([weight], [x, gradient, ends], () => {
            const { tensor, accumulate } = gradients.into(weight);
            const { stream } = device;
            ops.expert_backward_weight(stream, gradient.handle, x.handle, ends.handle, tensor.handle, expert, accumulate);
          });
        }
      }
      if (!gradients.wants(x)) return;
      const dx = empty(device, x.shape, 'gradient of expert inputs');
      for (const [expert, [weight, second]] of experts.entries()) {
        ops.expert_backward_input(
          device.stream,
          dy.handle,
          weight!.handle,
          dy2?.handle ?? null,
          dy2 && second ? second.handle : null,
          ends.handle,
          dx.handle,
          expert,
        );
      }
      gradients.give(x, dx);
    },
  });
  return outputs;
}
