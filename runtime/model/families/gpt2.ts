// GPT-2 (Radford et al. 2019): LayerNorm, learned positions, biases, a dense GELU MLP, tied head. Files keep weights as [in, out].
import type { ModelConfig } from '../config.ts';
import { ConfigReader } from './config-reader.ts';
import { checkConfig, mostLayers } from './check-config.ts';
import type { Family, FileTensor } from './family.ts';
import { blocks, conv, layerNorm, plain } from './file-tensors.ts';
import { newSizes } from './new-config.ts';

/** Names of activations in the files of the GPT families. */
export const gptActivations = { gelu_new: 'gelu-tanh', gelu_pytorch_tanh: 'gelu-tanh', gelu: 'gelu-erf', relu: 'relu' } as const;

export const gpt2: Family = {
  name: 'gpt2',
  modelType: 'gpt2',
  architecture: 'GPT2LMHeadModel',

  newConfig(size, surroundings) {
    return checkConfig(
      {
        ...newSizes('gpt2', size, surroundings),
        ...fixed,
        intermediateSize: size.intermediateSize ?? 4 * size.hiddenSize,
        norm: { kind: 'layernorm', epsilon: size.normEpsilon ?? 1e-5 },
        mlp: { kind: 'dense', activation: 'gelu-tanh' },
      },
      'model.config',
    );
  },

  fromHuggingFace(json, file) {
    const read = new ConfigReader(json, file);
    read.refuse('scale_attn_weights', [true]);
    read.refuse('add_cross_attention', [false]);
    read.refuse('quantization_config');
    const hiddenSize = read.size('n_embd', 768);
    const heads = read.size('n_head', 12);
    const dropout = read.number('resid_pdrop', 0.1);
    if (read.number('embd_pdrop', 0.1) !== dropout) throw read.fault('embd_pdrop', `the same as resid_pdrop (${dropout})`);
    const [bosTokenId] = read.tokenIds('bos_token_id', [50256]);
    return checkConfig(
      {
        ...fixed,
        vocabularySize: read.size('vocab_size', 50257),
        contextLength: read.size('n_positions', 1024),
        hiddenSize,
        layers: read.size('n_layer', 12, mostLayers),
        heads,
        kvHeads: heads,
        headSize: hiddenSize / heads,
        intermediateSize: read.size('n_inner', 4 * hiddenSize),
        norm: { kind: 'layernorm', epsilon: read.number('layer_norm_epsilon', 1e-5) },
        mlp: { kind: 'dense', activation: read.choice('activation_function', 'gelu_new', gptActivations) },
        tieEmbeddings: read.flag('tie_word_embeddings', true),
        dropout,
        initializerRange: read.number('initializer_range', 0.02),
        ...(bosTokenId === undefined ? {} : { bosTokenId }),
        eosTokenIds: read.tokenIds('eos_token_id', [50256]),
        ...(read.flag('scale_attn_by_inverse_layer_idx', false) ? { scaleByLayer: true } : {}),
      },
      file,
    );
  },

  toHuggingFace(config) {
    return {
      activation_function: activationName(config),
      attn_pdrop: 0,
      embd_pdrop: config.dropout,
      initializer_range: config.initializerRange,
      layer_norm_epsilon: config.norm.epsilon,
      n_ctx: config.contextLength,
      n_embd: config.hiddenSize,
      n_head: config.heads,
      n_inner: config.intermediateSize,
      n_layer: config.layers,
      n_positions: config.contextLength,
      resid_pdrop: config.dropout,
      scale_attn_by_inverse_layer_idx: config.scaleByLayer ?? false,
      tie_word_embeddings: config.tieEmbeddings,
    };
  },

  fileTensors(config) {
    return gptTensors(config, { tokens: 'wte', positions: 'wpe' }, gptConvolutions);
  },

  /** Files of the bare model lack the prefix; the causal masks that old files carry are no weights. */
  canonicalName(name) {
    if (/^(transformer\.)?h\.\d+\.attn\.(bias|masked_bias)$/.test(name)) return undefined;
    return name.startsWith('transformer.') || name.startsWith('lm_head.') ? name : `transformer.${name}`;
  },
};

/** The name of a dense activation in the files of the GPT families. */
export function activationName({ mlp }: ModelConfig): string {
  if (mlp.activation === 'relu') return 'relu';
  return mlp.activation === 'gelu-erf' ? 'gelu' : 'gelu_new';
}

const fixed = {
  family: 'gpt2',
  positions: { kind: 'learned' },
  bias: { qkv: true, output: true, mlp: true },
} as const satisfies Partial<ModelConfig>;

/** The tensors of GPT-1 to GPT-3, whose linear layers `layers` names. */
export function gptTensors(
  config: ModelConfig,
  names: { readonly tokens: string; readonly positions: string },
  layers: (config: ModelConfig, theirs: string, ours: string) => { readonly attention: FileTensor[]; readonly mlp: FileTensor[] },
): FileTensor[] {
  const d = config.hiddenSize;
  return [
    plain(`transformer.${names.tokens}.weight`, [config.vocabularySize, d], 'embedding.tokens'),
    plain(`transformer.${names.positions}.weight`, [config.contextLength, d], 'embedding.positions'),
    ...blocks(config.layers, (layer, ours) => {
      const theirs = `transformer.h.${layer}`;
      const { attention, mlp } = layers(config, theirs, ours);
      return [
        ...layerNorm(`${theirs}.ln_1`, d, `${ours}.attentionNorm`),
        ...attention,
        ...layerNorm(`${theirs}.ln_2`, d, `${ours}.mlpNorm`),
        ...mlp,
      ];
    }),
    ...(config.norm.final === false ? [] : layerNorm('transformer.ln_f', d, 'finalNorm')),
    ...(config.tieEmbeddings ? [] : [plain('lm_head.weight', [config.vocabularySize, d], 'head')]),
  ];
}

/** Linear layers kept as [in, out], queries, keys and values in one. */
export function gptConvolutions({ hiddenSize: d, intermediateSize: inner }: ModelConfig, theirs: string, ours: string) {
  const qkv = ['query', 'key', 'value'].map((part) => `${ours}.attention.${part}`);
  return {
    attention: [
      ...conv(`${theirs}.attn.c_attn`, d, 3 * d, qkv),
      ...conv(`${theirs}.attn.c_proj`, d, d, [`${ours}.attention.output`]),
    ],
    mlp: [
      ...conv(`${theirs}.mlp.c_fc`, d, inner, [`${ours}.mlp.up`]),
      ...conv(`${theirs}.mlp.c_proj`, inner, d, [`${ours}.mlp.down`]),
    ],
  };
}
