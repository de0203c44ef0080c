// The switches of one configurable decoder: what a family's config.json and a job's `model.config` are turned into.

/** A decoder-only transformer with pre-norm blocks. Plain data. */
export interface ModelConfig {
  readonly family: 'gpt2' | 'llama';
  readonly vocabularySize: number;
  /** Positions that the model was made for: rows of a learned position table, or of the rotary table. */
  readonly contextLength: number;
  readonly hiddenSize: number;
  readonly layers: number;
  readonly heads: number;
  /** Heads of keys and values; a divisor of `heads`. */
  readonly kvHeads: number;
  readonly headSize: number;
  /** Width of the MLP's inner layer. */
  readonly intermediateSize: number;
  readonly norm: { readonly kind: 'layernorm' | 'rmsnorm'; readonly epsilon: number };
  readonly positions: { readonly kind: 'learned' } | { readonly kind: 'rope'; readonly theta: number };
  readonly mlp: { readonly kind: 'dense'; readonly activation: 'gelu-tanh' | 'gelu-erf' } | { readonly kind: 'gated' };
  /** Which linear layers have a bias: queries, keys and values; the attention's output; the MLP. */
  readonly bias: { readonly qkv: boolean; readonly output: boolean; readonly mlp: boolean };
  /** Whether the head is the token embedding. */
  readonly tieEmbeddings: boolean;
  /** Probability on embeddings and on both residual branches while training. */
  readonly dropout: number;
  /** Standard deviation of initial weights. */
  readonly initializerRange: number;
  readonly bosTokenId?: number;
  readonly eosTokenIds: readonly number[];
}

/** `model.config` of a TrainingJob. */
export interface ModelSize {
  readonly hiddenSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads?: number | undefined;
  readonly intermediateSize?: number | undefined;
  readonly contextLength?: number | undefined;
  readonly tieEmbeddings?: boolean | undefined;
  readonly normEpsilon?: number | undefined;
  readonly ropeTheta?: number | undefined;
  readonly dropout?: number | undefined;
}

/** What the data and the tokenizer say about a new model. */
export interface ModelSurroundings {
  readonly vocabularySize: number;
  /** Length of the training sequences: the context length where the job gives none. */
  readonly trainingLength: number;
  readonly bosTokenId?: number;
  readonly eosTokenIds?: readonly number[];
}

/** The axis of a parameter's dim, by which it may be sharded. */
export type LogicalAxis = 'vocabulary' | 'position' | 'hidden' | 'heads' | 'kvHeads' | 'intermediate';

export type Initialisation =
  | { readonly kind: 'normal'; readonly std: number }
  | { readonly kind: 'constant'; readonly value: 0 | 1 };

export interface ParameterSpec {
  readonly name: string;
  readonly shape: readonly number[];
  readonly axes: readonly LogicalAxis[];
  readonly init: Initialisation;
  /** Whether AdamW decays it: matrices and embeddings do, biases and norms don't. */
  readonly decay: boolean;
}
