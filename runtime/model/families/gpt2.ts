// GPT-2 (Radford et al. 2019): LayerNorm, learned positions, biases, a dense GELU MLP, tied head. Files keep weights as [in, out].
import { WindlassError } from '#runtime/api/errors.ts';
import type { ModelConfig } from '../config.ts';
import { ConfigReader } from './config-reader.ts';
import { checkConfig } from './check-config.ts';
import type { Family, FileTensor } from './family.ts';

const activations = { gelu_new: 'gelu-tanh', gelu_pytorch_tanh: 'gelu-tanh', gelu: 'gelu-erf' } as const;

export const gpt2: Family = {
  name: 'gpt2',
  architecture: 'GPT2LMHeadModel',

  newConfig(size, surroundings) {
    if (size.kvHeads !== undefined && size.kvHeads !== size.heads) throw notOfFamily('kvHeads');
    if (size.ropeTheta !== undefined) throw notOfFamily('ropeTheta');
    return checkConfig(
      {
        ...fixed,
        vocabularySize: surroundings.vocabularySize,
        contextLength: size.contextLength ?? surroundings.trainingLength,
        hiddenSize: size.hiddenSize,
        layers: size.layers,
        heads: size.heads,
        kvHeads: size.heads,
        headSize: size.hiddenSize / size.heads,
        intermediateSize: size.intermediateSize ?? 4 * size.hiddenSize,
        norm: { kind: 'layernorm', epsilon: size.normEpsilon ?? 1e-5 },
        mlp: { kind: 'dense', activation: 'gelu-tanh' },
        tieEmbeddings: size.tieEmbeddings ?? true,
        dropout: size.dropout ?? 0,
        initializerRange: 0.02,
        ...(surroundings.bosTokenId === undefined ? {} : { bosTokenId: surroundings.bosTokenId }),
        eosTokenIds: surroundings.eosTokenIds ?? [],
      },
      'model.config',
    );
  },

  fromHuggingFace(json, file) {
    const read = new ConfigReader(json, file);
    read.refuse('scale_attn_weights', [true]);
    read.refuse('scale_attn_by_inverse_layer_idx', [false]);
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
        layers: read.size('n_layer', 12),
        heads,
        kvHeads: heads,
        headSize: hiddenSize / heads,
        intermediateSize: read.size('n_inner', 4 * hiddenSize),
        norm: { kind: 'layernorm', epsilon: read.number('layer_norm_epsilon', 1e-5) },
        mlp: { kind: 'dense', activation: read.choice('activation_function', 'gelu_new', activations) },
        tieEmbeddings: read.flag('tie_word_embeddings', true),
        dropout,
        initializerRange: read.number('initializer_range', 0.02),
        ...(bosTokenId === undefined ? {} : { bosTokenId }),
        eosTokenIds: read.tokenIds('eos_token_id', [50256]),
      },
      file,
    );
  },

  toHuggingFace(config) {
    return {
      activation_function: config.mlp.kind === 'dense' && config.mlp.activation === 'gelu-erf' ? 'gelu' : 'gelu_new',
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
      tie_word_embeddings: config.tieEmbeddings,
    };
  },

  fileTensors(config) {
    const d = config.hiddenSize;
    const inner = config.intermediateSize;
    const plain = (name: string, shape: readonly number[], parameter: string): FileTensor => ({
      name,
      shape,
      parameters: [parameter],
      transposed: false,
    });
    /** A Conv1D layer: weight [in, out], bias [out], of one or several of our layers beside each other. */
    const conv = (name: string, from: number, out: number, ours: readonly string[]): FileTensor[] => [
      { name: `${name}.weight`, shape: [from, out], parameters: ours.map((layer) => `${layer}.weight`), transposed: true },
      { name: `${name}.bias`, shape: [out], parameters: ours.map((layer) => `${layer}.bias`), transposed: false },
    ];
    const norm = (name: string, ours: string) => [
      plain(`${name}.weight`, [d], `${ours}.weight`),
      plain(`${name}.bias`, [d], `${ours}.bias`),
    ];
    const blocks = Array.from({ length: config.layers }, (_, layer) => {
      const [theirs, ours] = [`transformer.h.${layer}`, `blocks.${layer}`];
      const qkv = ['query', 'key', 'value'].map((part) => `${ours}.attention.${part}`);
      return [
        ...norm(`${theirs}.ln_1`, `${ours}.attentionNorm`),
        ...conv(`${theirs}.attn.c_attn`, d, 3 * d, qkv),
        ...conv(`${theirs}.attn.c_proj`, d, d, [`${ours}.attention.output`]),
        ...norm(`${theirs}.ln_2`, `${ours}.mlpNorm`),
        ...conv(`${theirs}.mlp.c_fc`, d, inner, [`${ours}.mlp.up`]),
        ...conv(`${theirs}.mlp.c_proj`, inner, d, [`${ours}.mlp.down`]),
      ];
    });
    return [
      plain('transformer.wte.weight', [config.vocabularySize, d], 'embedding.tokens'),
      plain('transformer.wpe.weight', [config.contextLength, d], 'embedding.positions'),
      ...blocks.flat(),
      ...norm('transformer.ln_f', 'finalNorm'),
      ...(config.tieEmbeddings ? [] : [plain('lm_head.weight', [config.vocabularySize, d], 'head')]),
    ];
  },

  /** Files of the bare model lack the prefix; the causal masks that old files carry are no weights. */
  canonicalName(name) {
    if (/^(transformer\.)?h\.\d+\.attn\.(bias|masked_bias)$/.test(name)) return undefined;
    return name.startsWith('transformer.') || name.startsWith('lm_head.') ? name : `transformer.${name}`;
  },
};

const fixed = {
  family: 'gpt2',
  positions: { kind: 'learned' },
  bias: { qkv: true, output: true, mlp: true },
} as const satisfies Partial<ModelConfig>;

function notOfFamily(field: string): WindlassError {
  return new WindlassError('WL_MODEL_INVALID', `model.config.${field} is not a setting of family gpt2`, {
    details: { path: `model.config.${field}` },
  });
}
