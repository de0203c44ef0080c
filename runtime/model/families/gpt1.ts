// GPT (Radford et al. 2018): norms after attention and MLP, none at the end. Files keep weights as [in, out]; their "gelu" is the tanh form.
import { checkConfig, mostLayers } from './check-config.ts';
import { ConfigReader } from './config-reader.ts';
import type { ModelConfig } from '../config.ts';
import type { Family } from './family.ts';
import { gptConvolutions, gptTensors } from './gpt2.ts';
import { newSizes } from './new-config.ts';

const activations = { gelu: 'gelu-tanh', gelu_new: 'gelu-tanh', relu: 'relu' } as const;

export const gpt1: Family = {
  name: 'gpt1',
  modelType: 'openai-gpt',
  architecture: 'OpenAIGPTLMHeadModel',

  newConfig(size, surroundings) {
    return checkConfig(
      {
        ...newSizes('gpt1', size, surroundings),
        ...fixed,
        intermediateSize: 4 * size.hiddenSize,
        norm: { ...norm, epsilon: size.normEpsilon ?? 1e-5 },
        mlp: { kind: 'dense', activation: 'gelu-tanh' },
      },
      'model.config',
    );
  },

  fromHuggingFace(json, file) {
    const read = new ConfigReader(json, file);
    read.refuse('quantization_config');
    const hiddenSize = read.size('n_embd', 768);
    const heads = read.size('n_head', 12);
    const dropout = read.number('resid_pdrop', 0.1);
    const embeddingDropout = read.number('embd_pdrop', 0.1);
    const [bosTokenId] = read.tokenIds('bos_token_id', []);
    return checkConfig(
      {
        ...fixed,
        vocabularySize: read.size('vocab_size', 40_478),
        contextLength: read.size('n_positions', 512),
        hiddenSize,
        layers: read.size('n_layer', 12, mostLayers),
        heads,
        kvHeads: heads,
        headSize: hiddenSize / heads,
        intermediateSize: 4 * hiddenSize,
        norm: { ...norm, epsilon: read.number('layer_norm_epsilon', 1e-5) },
        mlp: { kind: 'dense', activation: read.choice('afn', 'gelu', activations) },
        tieEmbeddings: read.flag('tie_word_embeddings', true),
        dropout,
        ...(embeddingDropout === dropout ? {} : { embeddingDropout }),
        initializerRange: read.number('initializer_range', 0.02),
        ...(bosTokenId === undefined ? {} : { bosTokenId }),
        eosTokenIds: read.tokenIds('eos_token_id', []),
      },
      file,
    );
  },

  toHuggingFace(config) {
    return {
      afn: config.mlp.activation === 'relu' ? 'relu' : 'gelu',
      attn_pdrop: 0,
      embd_pdrop: config.embeddingDropout ?? config.dropout,
      initializer_range: config.initializerRange,
      layer_norm_epsilon: config.norm.epsilon,
      n_embd: config.hiddenSize,
      n_head: config.heads,
      n_layer: config.layers,
      n_positions: config.contextLength,
      resid_pdrop: config.dropout,
      tie_word_embeddings: config.tieEmbeddings,
    };
  },

  fileTensors: (config) => gptTensors(config, { tokens: 'tokens_embed', positions: 'positions_embed' }, gptConvolutions),

  /** Files of the bare model lack the prefix; causal masks and position ids are no weights. */
  canonicalName(name) {
    if (/^(transformer\.)?(h\.\d+\.attn\.bias|position_ids)$/.test(name)) return undefined;
    return name.startsWith('transformer.') || name.startsWith('lm_head.') ? name : `transformer.${name}`;
  },
};

const norm = { kind: 'layernorm', placement: 'post', final: false } as const;

const fixed = {
  family: 'gpt1',
  positions: { kind: 'learned' },
  bias: { qkv: true, output: true, mlp: true },
} as const satisfies Partial<ModelConfig>;
