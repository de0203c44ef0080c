// Values that the forward pass keeps for the backward pass, per token of a grain: what the operations of runtime/tensor save on the tape.
import type { ModelConfig } from '#runtime/model/config.ts';

/** How a tensor group cuts the forward pass. */
export interface TensorCut {
  readonly tensor: number;
  readonly sequenceParallel: boolean;
}

/**
 * What one block keeps. Both norms: their input (the residual sum), one or two statistics per token and their output, which the linear
 * layers behind them read. Attention: queries, keys, values, its output and one log sum per head. MLP: what each activation reads and gives.
 * With sequenceParallel residual sums and statistics are split over the tensor group, and what the linear layers read is gathered.
 */
export function blockValues(config: ModelConfig, { tensor, sequenceParallel }: TensorCut): number {
  const { hiddenSize, heads, kvHeads, headSize, intermediateSize } = config;
  const between = (hiddenSize + statistics(config)) / (sequenceParallel ? tensor : 1);
  const attention = (2 * heads * headSize + 2 * kvHeads * headSize + heads) / tensor;
  const mlp = ((config.mlp.kind === 'gated' ? 3 : 2) * intermediateSize) / tensor;
  return 2 * (between + hiddenSize) + attention + mlp;
}

/** What enters a block: the residual stream as two addends, or as one at the start of a stage. All that `recompute: block` keeps of it. */
export function blockInputValues({ hiddenSize }: ModelConfig, { tensor, sequenceParallel }: TensorCut, isFirst: boolean): number {
  return ((isFirst ? 1 : 2) * hiddenSize) / (sequenceParallel ? tensor : 1);
}

/** The output of a block's MLP, which lives until the forward pass of the stage has ended, though nothing saves it. */
export function blockOutputValues({ hiddenSize }: ModelConfig, { tensor, sequenceParallel }: TensorCut): number {
  return hiddenSize / (sequenceParallel ? tensor : 1);
}

/** What the backward pass of a block needs beside what is kept: gradients of the residual stream and of the MLP's inner layers. */
export function blockGradientValues(config: ModelConfig, cut: TensorCut): number {
  const inner = config.mlp.kind === 'gated' ? 2 : 1;
  return blockOutputValues(config, cut) + (inner * config.intermediateSize) / cut.tensor;
}

/** Token ids and positions. */
export const embeddingValues = 2;

/**
 * The final norm's input, statistics and output; the fused loss computes the gradient of the hidden states at once and keeps it, and the
 * losses and targets. Logits never exist as a whole.
 */
export function headValues(config: ModelConfig, { tensor, sequenceParallel }: TensorCut): number {
  const { hiddenSize } = config;
  const split = sequenceParallel ? tensor : 1;
  return (hiddenSize + statistics(config)) / split + hiddenSize + hiddenSize / split + 2;
}

/** LayerNorm keeps mean and inverse deviation of each token, RMSNorm the inverse root mean square. */
function statistics({ norm }: ModelConfig): number {
  return norm.kind === 'layernorm' ? 2 : 1;
}
