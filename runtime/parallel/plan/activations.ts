// Values per token of a grain that a stage keeps for the backward pass: what the operations of runtime/tensor save on the tape.
import type { ModelConfig } from '#runtime/model/config.ts';
import type { Recompute } from '#runtime/model/forward.ts';

/** How a tensor group cuts the forward pass. */
export interface TensorCut {
  readonly tensor: number;
  readonly sequenceParallel: boolean;
  /** What activations are stored in, f32 if absent. Everything here is counted in values of f32. */
  readonly precision?: 'f32' | 'bf16' | undefined;
}

/**
 * What a block keeps. A norm: its input (the sum of the residual stream), one or two statistics per token, and its output, which the linear
 * layers behind it read. Attention: queries, keys, values, its output and one log sum per head. MLP: what the activation reads and gives.
 * A part that is computed again keeps what enters it. With sequenceParallel what lies between the linear layers is split over the
 * tensor group, and what they read is gathered.
 */
export function blockValues(config: ModelConfig, cut: TensorCut, recompute: Recompute): number {
  const hiddenSize = stored(config.hiddenSize, cut);
  const stream = streamValues(config, cut);
  const norm = stream + statistics(config) / shareOf(cut) + hiddenSize;
  switch (recompute) {
    case 'none':
      return 2 * norm + attentionValues(config, cut) + mlpValues(config, cut);
    case 'block':
      return 2 * stream;
    case 'attention':
      return 2 * stream + hiddenSize + mlpValues(config, cut);
    case 'mlp':
      return 2 * norm + attentionValues(config, cut) + stream - hiddenSize;
  }
}

/**
 * What a block frees when its forward pass ends: queries and keys before their rotation, what attention adds to the stream, and in a tensor
 * group the own part of both sums. With sequenceParallel what is gathered, and what is to be summed, stands in the order of ranks as well.
 */
export function blockPassingValues(config: ModelConfig, cut: TensorCut): number {
  const { hiddenSize, heads, kvHeads, headSize } = config;
  const turned = config.positions.kind === 'rope' ? stored((heads + kvHeads) * headSize, cut) / cut.tensor : 0;
  const exchanged = cut.tensor === 1 ? 0 : cut.sequenceParallel ? 6 : 2;
  return turned + streamValues(config, cut) + exchanged * hiddenSize;
}

/** What the backward pass of a block computes again and holds while it runs. */
export function blockAgainValues(config: ModelConfig, cut: TensorCut, recompute: Recompute): number {
  return recompute === 'none'
    ? 0
    : blockValues(config, cut, 'none') - (recompute === 'block' ? 0 : blockValues(config, cut, recompute));
}

/** Gradients that the backward pass of a block holds at one time: of the residual stream and of the MLP's inner layers. */
export function blockGradientValues(config: ModelConfig, cut: TensorCut): number {
  return config.hiddenSize / shareOf(cut) + (innerInputs(config) * config.intermediateSize) / cut.tensor;
}

/** What weight gradients that wait need of a block: inputs and output gradients of its linear layers. */
export function blockDeferredValues(config: ModelConfig, cut: TensorCut): number {
  const { hiddenSize, heads, kvHeads, headSize, intermediateSize } = config;
  const inputs = 2 * hiddenSize + (heads * headSize + intermediateSize) / cut.tensor;
  const own = (heads + 2 * kvHeads) * headSize + innerInputs(config) * intermediateSize;
  return stored(inputs, cut) + 2 * hiddenSize + own / cut.tensor;
}

/** The residual stream between two blocks. */
export function streamValues({ hiddenSize }: ModelConfig, cut: TensorCut): number {
  return stored(hiddenSize, cut) / shareOf(cut);
}

/**
 * The final norm's input, statistics and output, the losses, the targets, and the gradient of the hidden states. One rank alone never has all
 * logits; ranks of a tensor group have those of their part of the vocabulary, and exchange three values.
 */
export function headValues(config: ModelConfig, cut: TensorCut): number {
  const { hiddenSize, vocabularySize } = config;
  const logits = cut.tensor > 1 ? Math.ceil(vocabularySize / cut.tensor) + 3 : 0;
  return streamValues(config, cut) + statistics(config) / shareOf(cut) + stored(hiddenSize, cut) + hiddenSize + 2 + logits;
}

function attentionValues(config: ModelConfig, cut: TensorCut): number {
  const { heads, kvHeads, headSize, norm } = config;
  // Normalised heads are kept before it too, with a statistic of each.
  const normed = norm.queriesAndKeys ? stored((heads + kvHeads) * headSize, cut) + heads + kvHeads : 0;
  return (stored(2 * (heads + kvHeads) * headSize, cut) + heads + normed) / cut.tensor + afterNorm(config, cut);
}

function mlpValues(config: ModelConfig, cut: TensorCut): number {
  const { mixture, hiddenSize } = config;
  const inner = (1 + innerInputs(config)) * config.intermediateSize;
  const own = mixture
    ? mixture.perToken * (2 * hiddenSize + inner + 5) + 2 * mixture.experts // what goes to the experts and comes back, and the routing
    : stored(inner, cut) / cut.tensor;
  return own + afterNorm(config, cut);
}

/** What a norm of what a part adds to the stream keeps: its input and its statistics. */
function afterNorm(config: ModelConfig, cut: TensorCut): number {
  return config.norm.placement === 'sandwich' ? streamValues(config, cut) + statistics(config) / shareOf(cut) : 0;
}

/** Layers that the MLP's activation reads. */
function innerInputs({ mlp }: ModelConfig): number {
  return mlp.kind === 'gated' ? 2 : 1;
}

/** LayerNorm keeps mean and inverse deviation of each token, RMSNorm the inverse root mean square. */
function statistics({ norm }: ModelConfig): number {
  return norm.kind === 'layernorm' ? 2 : 1;
}

/** What so many activations take; a mixture's are f32. */
function stored(values: number, { precision }: TensorCut): number {
  return precision === 'bf16' ? values / 2 : values;
}

function shareOf({ tensor, sequenceParallel }: TensorCut): number {
  return sequenceParallel ? tensor : 1;
}
