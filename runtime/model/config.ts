// The switches of one configurable decoder: what a family's config.json and a job's `model.config` are turned into.

/** Families of models, by the names that jobs give them. */
export type ModelFamily =
  | 'gpt1'
  | 'gpt2'
  | 'gpt3'
  | 'opt'
  | 'bloom'
  | 'llama'
  | 'qwen2'
  | 'qwen3'
  | 'mistral'
  | 'mixtral'
  | 'gemma3';

/** How rotary angles are stretched for contexts longer than those of the pre-training. */
export type RopeScaling =
  | { readonly kind: 'linear'; readonly factor: number }
  | {
      readonly kind: 'llama3';
      readonly factor: number;
      readonly lowFrequencyFactor: number;
      readonly highFrequencyFactor: number;
      readonly originalContextLength: number;
    };

/** A mixture of experts in place of the MLP: each token goes to `perToken` of `experts`. */
export interface Mixture {
  readonly experts: number;
  readonly perToken: number;
  /** Factor of the load-balance loss while training (Fedus et al. 2022, equation 4); 0: none. */
  readonly balance: number;
  /** Factor of the mean square of the router's log sums (Zoph et al. 2022, equation 5); 0: none. */
  readonly z: number;
}

/** A decoder-only transformer: one block, switched. Plain data. */
export interface ModelConfig {
  readonly family: ModelFamily;
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
  readonly norm: {
    readonly kind: 'layernorm' | 'rmsnorm';
    readonly epsilon: number;
    /** Added to the weights of RMSNorm; 0 if absent. */
    readonly offset?: 1;
    /**
     * Where a block has its norms: before attention and MLP if absent; after each, on the stream; or before and after, with what is
     * after on what is added to the stream.
     */
    readonly placement?: 'post' | 'sandwich';
    /** Whether the embeddings are normalised; not if absent. */
    readonly embeddings?: true;
    /** Whether each head of queries and keys is; not if absent. */
    readonly queriesAndKeys?: true;
    /** Whether the hidden states are, before the head; they are if absent. */
    readonly final?: false;
  };
  readonly positions:
    | {
        readonly kind: 'learned';
        /** Row of position 0 in the table; 0 if absent. */
        readonly offset?: number;
      }
    | {
        readonly kind: 'rope';
        readonly theta: number;
        readonly scaling?: RopeScaling;
        /** Base of the angles in layers that have a window, unscaled; the others' if absent. */
        readonly windowTheta?: number;
      }
    | { readonly kind: 'alibi' };
  readonly mlp:
    | { readonly kind: 'dense'; readonly activation: 'gelu-tanh' | 'gelu-erf' | 'relu' }
    | { readonly kind: 'gated'; readonly activation?: 'gelu-tanh' };
  readonly mixture?: Mixture;
  /** How many keys, its own the last, a query of each layer sees; 0: all. All layers see all if absent. */
  readonly windows?: readonly number[];
  /** Factor of the products of queries and keys: 1 / sqrt(headSize) if absent. */
  readonly attentionScale?: number;
  /** Whether that factor is divided by 1 + the index of the layer. */
  readonly scaleByLayer?: true;
  /** Factor of the token embeddings; 1 if absent. */
  readonly embeddingScale?: number;
  /** Which linear layers have a bias: queries, keys and values; the attention's output; the MLP. */
  readonly bias: { readonly qkv: boolean; readonly output: boolean; readonly mlp: boolean };
  /** Whether the head is the token embedding. */
  readonly tieEmbeddings: boolean;
  /** Probability on embeddings and on both residual branches while training. */
  readonly dropout: number;
  /** Where that of the embeddings is another one. */
  readonly embeddingDropout?: number;
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
  readonly headSize?: number | undefined;
  readonly window?: number | undefined;
  readonly experts?: number | undefined;
  readonly expertsPerToken?: number | undefined;
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
export type LogicalAxis = 'vocabulary' | 'position' | 'hidden' | 'heads' | 'kvHeads' | 'headSize' | 'experts' | 'intermediate';

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
