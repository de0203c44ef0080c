// Linear layers: y = x wT + bias, with their gradients; the contraction order follows the units and spans of the dims.
import { empty } from './create.ts';
import { ops } from './device.ts';
import type { GradientStore } from './gradients.ts';
import { activation } from './precision.ts';
import { multiplyQuantized } from './quantized.ts';
import { recordingTape } from './tape.ts';
import type { Tape } from './tape.ts';
import { Parameter } from './tensor.ts';
import type { Tensor } from './tensor.ts';
import { allSpans } from './token-share.ts';
import { WindlassError } from '#runtime/api/errors.ts';

/** A weight [N, K], and a bias [N] that is added last. */
export interface LinearLayer {
  readonly weight: Tensor;
  readonly bias?: Tensor | undefined;
}

export interface LinearOptions {
  /** What spans of the input dim K are made of: the head size where the dim is made of heads, else 16. */
  readonly unit?: number;
  /** The same for the output dims N. */
  readonly outputUnit?: number;
  /** Most spans of a contraction over K: 8, or 8 / n where n ranks hold an even share of K each and add up what they get. */
  readonly spans?: number;
  /** Whether what it gives is a part of a sum over ranks, which is f32 whatever activations are stored in. */
  readonly isPart?: boolean;
  /** The same as `spans` for the contraction over N, in the backward pass. */
  readonly outputSpans?: number;
}

type OneEach<Layers extends readonly unknown[]> = { -readonly [At in keyof Layers]: Tensor };

const defaultUnit = 16;

/** x [M, K], w [N, K], bias [N] -> [M, N]. Unrecorded, it uses the packed form of `w` where there is one: the same bits.
 * Where `w` has a quantised form that one is the weight (`multiplyQuantized`). */
export function linear(x: Tensor, w: Tensor, bias?: Tensor, options: LinearOptions = {}): Tensor {
  return linears(x, [{ weight: w, bias }], options)[0];
}

/**
 * Up to three layers on one input x [M, K]: [M, N] of each. They are recorded as one operation whose input gradient is one contraction over
 * the outputs of all, in spans that each hold a part of every layer.
 */
export function linears<const Layers extends readonly LinearLayer[]>(
  x: Tensor,
  layers: Layers,
  options: LinearOptions = {},
): OneEach<Layers> {
  const tape = recordingTape(x, ...layers.flatMap(({ weight, bias }) => [weight, bias]));
  const outputs = layers.map((layer) => forward(x, layer, options, tape !== undefined));
  tape?.push({
    operation: 'linear',
    outputs,
    saved: [x, ...layers.map(({ weight }) => weight)],
    backward(gradients) {
      const pairs = layers.flatMap((layer, index) => {
        const output = outputs[index];
        const dy = output && gradients.of(output);
        return dy ? [{ ...layer, dy }] : [];
      });
      for (const { weight, bias, dy } of pairs) giveWeightGradient(gradients, tape, x, dy, weight, bias);
      if (gradients.wants(x)) giveInput(gradients, x, pairs, options);
    },
  });
  return outputs as OneEach<Layers>;
}

function forward(x: Tensor, { weight, bias }: LinearLayer, options: LinearOptions, isRecorded: boolean): Tensor {
  const { unit = defaultUnit, spans = allSpans } = options;
  const { stream } = x.device;
  const make = options.isPart ? empty : activation;
  const y = make(x.device, [...x.leading, weight.shape[0] ?? 0], 'linear');
  const quantized = weight instanceof Parameter ? weight.quantized : undefined;
  if (quantized) {
    if (isRecorded) throw new WindlassError('WL_OP_INVALID', `linear: the quantised weight ${weight.label} can't be trained`);
    multiplyQuantized(x, quantized, bias, y, spans);
    return y;
  }
  const packed = weight instanceof Parameter && !isRecorded ? weight.packed : undefined;
  if (packed) ops.linear_packed_forward(stream, x.handle, packed.handle, bias?.handle ?? null, y.handle, unit, spans);
  else ops.linear_forward(stream, x.handle, weight.handle, bias?.handle ?? null, y.handle, unit, spans);
  return y;
}

/** Gives the gradients of a weight and its bias, from the input x [M, K] and the gradient dy [M, N] of the output; where the pass defers them, later. */
export function giveWeightGradient(
  gradients: GradientStore,
  tape: Tape,
  x: Tensor,
  dy: Tensor,
  weight: Tensor,
  bias: Tensor | undefined,
): void {
  if (!gradients.wants(weight)) return;
  gradients.ofWeights([weight, bias], [x, dy], () => {
    const dw = gradients.into(weight);
    const dbias = bias && gradients.into(bias);
    ops.linear_backward_weight(
      x.device.stream,
      dy.handle,
      x.handle,
      dw.tensor.handle,
      dbias?.tensor.handle ?? null,
      tape.length,
      allSpans,
      dw.accumulate,
    );
  });
}

function giveInput(
  gradients: GradientStore,
  x: Tensor,
  pairs: readonly { readonly dy: Tensor; readonly weight: Tensor }[],
  options: LinearOptions,
): void {
  const [first, second, third] = pairs;
  if (!first) return;
  const { outputUnit = defaultUnit, outputSpans = allSpans } = options;
  const dx = gradients.into(x);
  ops.linear_backward_input(
    x.device.stream,
    first.dy.handle,
    first.weight.handle,
    second?.dy.handle ?? null,
    second?.weight.handle ?? null,
    third?.dy.handle ?? null,
    third?.weight.handle ?? null,
    dx.tensor.handle,
    outputUnit,
    outputSpans,
    dx.accumulate,
  );
}
