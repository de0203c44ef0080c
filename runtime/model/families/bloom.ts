// BLOOM (BigScience 2022): GPT-3 with linear biases in place of positions, and normalised embeddings. Queries, keys and values lie head by head.
import type { ModelConfig } from '../config.ts';
import { checkConfig, mostLayers } from './check-config.ts';
import { ConfigReader } from './config-reader.ts';
import type { Family, FileTensor } from './family.ts';
import { blocks, layerNorm, linear, plain } from './file-tensors.ts';
import { newSizes } from './new-config.ts';

export const bloom: Family = {
  name: 'bloom',
  modelType: 'bloom',
  architecture: 'BloomForCausalLM',

  newConfig(size, surroundings) {
    return checkConfig(
      {
        ...newSizes('bloom', size, surroundings),
        ...fixed,
        intermediateSize: 4 * size.hiddenSize,
        norm: { kind: 'layernorm', epsilon: size.normEpsilon ?? 1e-5, embeddings: true },
        ...noEmbeddingDropout(size.dropout ?? 0),
      },
      'model.config',
    );
  },

  fromHuggingFace(json, file) {
    const read = new ConfigReader(json, file);
    read.refuse('apply_residual_connection_post_layernorm', [false]);
    read.refuse('quantization_config');
    const hiddenSize = read.size('n_embed', read.size('hidden_size', 64));
    const heads = read.size('n_head', read.size('num_attention_heads', 8));
    const dropout = read.number('hidden_dropout', 0);
    const [bosTokenId] = read.tokenIds('bos_token_id', [1]);
    return checkConfig(
      {
        ...fixed,
        vocabularySize: read.size('vocab_size', 250_880),
        contextLength: read.size('seq_length', 2048),
        hiddenSize,
        layers: read.size('n_layer', read.size('num_hidden_layers', 2, mostLayers), mostLayers),
        heads,
        kvHeads: heads,
        headSize: hiddenSize / heads,
        intermediateSize: 4 * hiddenSize,
        norm: { kind: 'layernorm', epsilon: read.number('layer_norm_epsilon', 1e-5), embeddings: true },
        tieEmbeddings: read.flag('tie_word_embeddings', true),
        dropout,
        ...noEmbeddingDropout(dropout),
        initializerRange: read.number('initializer_range', 0.02),
        ...(bosTokenId === undefined ? {} : { bosTokenId }),
        eosTokenIds: read.tokenIds('eos_token_id', [2]),
      },
      file,
    );
  },

  toHuggingFace(config) {
    return {
      apply_residual_connection_post_layernorm: false,
      attention_dropout: 0,
      hidden_dropout: config.dropout,
      hidden_size: config.hiddenSize,
      initializer_range: config.initializerRange,
      layer_norm_epsilon: config.norm.epsilon,
      n_head: config.heads,
      n_layer: config.layers,
      seq_length: config.contextLength,
      tie_word_embeddings: config.tieEmbeddings,
    };
  },

  fileTensors(config) {
    const { hiddenSize: d, intermediateSize: inner, headSize } = config;
    return [
      plain('transformer.word_embeddings.weight', [config.vocabularySize, d], 'embedding.tokens'),
      ...layerNorm('transformer.word_embeddings_layernorm', d, 'embedding.norm'),
      ...blocks(config.layers, (layer, ours) => {
        const theirs = `transformer.h.${layer}`;
        const [attention, own] = [`${theirs}.self_attention`, `${ours}.attention`];
        const fused = (kind: string, shape: readonly number[]): FileTensor => ({
          name: `${attention}.query_key_value.${kind}`,
          shape,
          parameters: ['query', 'key', 'value'].map((part) => `${own}.${part}.${kind}`),
          transposed: false,
          turn: headSize,
        });
        return [
          ...layerNorm(`${theirs}.input_layernorm`, d, `${ours}.attentionNorm`),
          fused('weight', [3 * d, d]),
          fused('bias', [3 * d]),
          ...linear(`${attention}.dense`, d, d, `${own}.output`, true),
          ...layerNorm(`${theirs}.post_attention_layernorm`, d, `${ours}.mlpNorm`),
          ...linear(`${theirs}.mlp.dense_h_to_4h`, inner, d, `${ours}.mlp.up`, true),
          ...linear(`${theirs}.mlp.dense_4h_to_h`, d, inner, `${ours}.mlp.down`, true),
        ];
      }),
      ...layerNorm('transformer.ln_f', d, 'finalNorm'),
      ...(config.tieEmbeddings ? [] : [plain('lm_head.weight', [config.vocabularySize, d], 'head')]),
    ];
  },

  /** Files of the bare model lack the prefix. */
  canonicalName(name) {
    return name.startsWith('transformer.') || name.startsWith('lm_head.') ? name : `transformer.${name}`;
  },
};

const fixed = {
  family: 'bloom',
  positions: { kind: 'alibi' },
  mlp: { kind: 'dense', activation: 'gelu-tanh' },
  bias: { qkv: true, output: true, mlp: true },
} as const satisfies Partial<ModelConfig>;

/** Embeddings have no dropout. */
function noEmbeddingDropout(dropout: number): Pick<ModelConfig, 'embeddingDropout'> {
  return dropout === 0 ? {} : { embeddingDropout: 0 };
}
