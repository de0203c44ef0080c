// From logits to tokens and log-probabilities. Not differentiable.
import { empty, emptyIntegers } from './create.ts';
import { ops } from './device.ts';
import type { Tensor } from './tensor.ts';

/** One row per sequence that gets a token. */
export interface SamplingRows {
  /** f32 [M]; 0 is argmax. */
  readonly temperature: Tensor;
  /** i32 [M]; 0 keeps all. */
  readonly topK: Tensor;
  /** f32 [M]; 1 keeps all. */
  readonly topP: Tensor;
  /** f32 [M]; 0 keeps all. */
  readonly minP: Tensor;
  /** i32 [M, 2]: low and high word of the request's seed. */
  readonly seeds: Tensor;
  /** i32 [M]: position of the token to be drawn; with the seed it keys the draw. */
  readonly positions: Tensor;
}

/** Draws one token per row of logits [M, V]: ids [M] i32 and the log-probabilities [M] of the raw logits. */
export function sampleTokens(logits: Tensor, rows: SamplingRows): { readonly ids: Tensor; readonly logprobs: Tensor } {
  const { device } = logits;
  const ids = emptyIntegers(device, logits.leading, 'sampled ids');
  const logprobs = empty(device, logits.leading, 'sampled logprobs');
  ops.sample(
    device.stream,
    logits.handle,
    rows.temperature.handle,
    rows.topK.handle,
    rows.topP.handle,
    rows.minP.handle,
    rows.seeds.handle,
    rows.positions.handle,
    ids.handle,
    logprobs.handle,
  );
  return { ids, logprobs };
}

/** The `count` largest entries of each row of logits [M, V] as log-probabilities, largest first: [M, count] each. */
export function topK(logits: Tensor, count: number): { readonly ids: Tensor; readonly logprobs: Tensor } {
  const { device } = logits;
  const ids = emptyIntegers(device, [...logits.leading, count], 'top ids');
  const logprobs = empty(device, [...logits.leading, count], 'top logprobs');
  ops.top_k(device.stream, logits.handle, logprobs.handle, ids.handle);
  return { ids, logprobs };
}

/** log softmax(logits[t])[ids[t]], [M]: exactly the negated losses of `crossEntropy`. */
export function gatherLogprobs(logits: Tensor, ids: Tensor): Tensor {
  const out = empty(logits.device, logits.leading, 'logprobs');
  ops.log_softmax_gather(logits.device.stream, logits.handle, ids.handle, out.handle);
  return out;
}
