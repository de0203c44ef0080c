// OPT (Zhang et al. 2022): LayerNorm before each part (or after it, in one of its sizes), learned positions from row 2 of their table, ReLU.
import type { ModelConfig } from '../config.ts';
import { checkConfig, mostLayers } from './check-config.ts';
import { ConfigReader } from './config-reader.ts';
import type { Family } from './family.ts';
import { blocks, layerNorm, linear, plain } from './file-tensors.ts';
import { newSizes } from './new-config.ts';

const activations = { relu: 'relu', gelu: 'gelu-erf' } as const;

export const opt: Family = {
  name: 'opt',
  modelType: 'opt',
  architecture: 'OPTForCausalLM',

  newConfig(size, surroundings) {
    return checkConfig(
      {
        ...newSizes('opt', size, surroundings),
        ...fixed,
        intermediateSize: size.intermediateSize ?? 4 * size.hiddenSize,
        norm: { kind: 'layernorm', epsilon },
        mlp: { kind: 'dense', activation: 'relu' },
        ...noEmbeddingDropout(size.dropout ?? 0),
      },
      'model.config',
    );
  },

  fromHuggingFace(json, file) {
    const read = new ConfigReader(json, file);
    read.refuse('enable_bias', [true]);
    read.refuse('layer_norm_elementwise_affine', [true]);
    read.refuse('layerdrop', [0]);
    read.refuse('quantization_config');
    const hiddenSize = read.size('hidden_size', 768);
    const heads = read.size('num_attention_heads', 12);
    if (read.size('word_embed_proj_dim', hiddenSize) !== hiddenSize) {
      throw read.fault('word_embed_proj_dim', `the same as hidden_size (${hiddenSize}): no other is supported`);
    }
    const isBefore = read.flag('do_layer_norm_before', true);
    const hasFinal = isBefore && !read.flag('_remove_final_layer_norm', false);
    const dropout = read.number('dropout', 0.1);
    const [bosTokenId] = read.tokenIds('bos_token_id', [2]);
    return checkConfig(
      {
        ...fixed,
        vocabularySize: read.size('vocab_size', 50_272),
        contextLength: read.size('max_position_embeddings', 2048),
        hiddenSize,
        layers: read.size('num_hidden_layers', 12, mostLayers),
        heads,
        kvHeads: heads,
        headSize: hiddenSize / heads,
        intermediateSize: read.size('ffn_dim', 3072),
        norm: {
          kind: 'layernorm',
          epsilon,
          ...(isBefore ? {} : { placement: 'post' }),
          ...(hasFinal ? {} : { final: false }),
        },
        mlp: { kind: 'dense', activation: read.choice('activation_function', 'relu', activations) },
        tieEmbeddings: read.flag('tie_word_embeddings', true),
        dropout,
        ...noEmbeddingDropout(dropout),
        initializerRange: read.number('init_std', 0.02),
        ...(bosTokenId === undefined ? {} : { bosTokenId }),
        eosTokenIds: read.tokenIds('eos_token_id', [2]),
      },
      file,
    );
  },

  toHuggingFace(config) {
    const isBefore = config.norm.placement !== 'post';
    return {
      _remove_final_layer_norm: isBefore && config.norm.final === false,
      activation_function: config.mlp.activation === 'relu' ? 'relu' : 'gelu',
      attention_dropout: 0,
      do_layer_norm_before: isBefore,
      dropout: config.dropout,
      enable_bias: true,
      ffn_dim: config.intermediateSize,
      hidden_size: config.hiddenSize,
      init_std: config.initializerRange,
      layer_norm_elementwise_affine: true,
      layerdrop: 0,
      max_position_embeddings: config.contextLength,
      num_attention_heads: config.heads,
      num_hidden_layers: config.layers,
      tie_word_embeddings: config.tieEmbeddings,
      word_embed_proj_dim: config.hiddenSize,
    };
  },

  fileTensors(config) {
    const { hiddenSize: d, intermediateSize: inner } = config;
    const decoder = 'model.decoder';
    return [
      plain(`${decoder}.embed_tokens.weight`, [config.vocabularySize, d], 'embedding.tokens'),
      plain(`${decoder}.embed_positions.weight`, [config.contextLength + firstRow, d], 'embedding.positions'),
      ...blocks(config.layers, (layer, ours) => {
        const theirs = `${decoder}.layers.${layer}`;
        const [attention, own] = [`${theirs}.self_attn`, `${ours}.attention`];
        return [
          ...layerNorm(`${theirs}.self_attn_layer_norm`, d, `${ours}.attentionNorm`),
          ...linear(`${attention}.q_proj`, d, d, `${own}.query`, true),
          ...linear(`${attention}.k_proj`, d, d, `${own}.key`, true),
          ...linear(`${attention}.v_proj`, d, d, `${own}.value`, true),
          ...linear(`${attention}.out_proj`, d, d, `${own}.output`, true),
          ...layerNorm(`${theirs}.final_layer_norm`, d, `${ours}.mlpNorm`),
          ...linear(`${theirs}.fc1`, inner, d, `${ours}.mlp.up`, true),
          ...linear(`${theirs}.fc2`, d, inner, `${ours}.mlp.down`, true),
        ];
      }),
      ...(config.norm.final === false ? [] : layerNorm(`${decoder}.final_layer_norm`, d, 'finalNorm')),
      ...(config.tieEmbeddings ? [] : [plain('lm_head.weight', [config.vocabularySize, d], 'head')]),
    ];
  },

  /** Files of the bare model lack the prefix. */
  canonicalName(name) {
    return name.startsWith('decoder.') ? `model.${name}` : name;
  },
};

/** PyTorch's own, which OPT does not let a configuration choose. */
const epsilon = 1e-5;

/** Row of position 0 in the table of positions. */
const firstRow = 2;

const fixed = {
  family: 'opt',
  positions: { kind: 'learned', offset: firstRow },
  bias: { qkv: true, output: true, mlp: true },
} as const satisfies Partial<ModelConfig>;

/** Embeddings have no dropout. */
function noEmbeddingDropout(dropout: number): Pick<ModelConfig, 'embeddingDropout'> {
  return dropout === 0 ? {} : { embeddingDropout: 0 };
}
