// GPT-3 (Brown et al. 2020): GPT-2 whose layers attend to all keys and to a band of them in turn. Files are those of GPT-Neo, which does so:
// scores are not scaled, and queries, keys and values have no bias.
import type { ModelConfig } from '../config.ts';
import { checkConfig, mostLayers } from './check-config.ts';
import { ConfigReader } from './config-reader.ts';
import type { Family } from './family.ts';
import { linear } from './file-tensors.ts';
import { activationName, gptActivations, gptTensors } from './gpt2.ts';
import { newSizes } from './new-config.ts';
import { windowsOf } from './windows.ts';

const defaultWindow = 256;

export const gpt3: Family = {
  name: 'gpt3',
  modelType: 'gpt_neo',
  architecture: 'GPTNeoForCausalLM',

  newConfig(size, surroundings) {
    const { layers, window = defaultWindow } = size;
    return checkConfig(
      {
        ...newSizes('gpt3', size, surroundings, ['window']),
        ...fixed,
        ...windowsOf(Array.from({ length: layers }, (_, layer) => (layer % 2 === 0 ? 0 : window))),
        intermediateSize: size.intermediateSize ?? 4 * size.hiddenSize,
        norm: { kind: 'layernorm', epsilon: size.normEpsilon ?? 1e-5 },
        mlp: { kind: 'dense', activation: 'gelu-tanh' },
      },
      'model.config',
    );
  },

  fromHuggingFace(json, file) {
    const read = new ConfigReader(json, file);
    read.refuse('quantization_config');
    const hiddenSize = read.size('hidden_size', 2048);
    const heads = read.size('num_heads', 16);
    const layers = read.size('num_layers', 24, mostLayers);
    const dropout = read.number('resid_dropout', 0);
    const embeddingDropout = read.number('embed_dropout', 0);
    const [bosTokenId] = read.tokenIds('bos_token_id', [50_256]);
    return checkConfig(
      {
        ...fixed,
        ...windowsOf(readWindows(read, layers)),
        vocabularySize: read.size('vocab_size', 50_257),
        contextLength: read.size('max_position_embeddings', 2048),
        hiddenSize,
        layers,
        heads,
        kvHeads: heads,
        headSize: hiddenSize / heads,
        intermediateSize: read.size('intermediate_size', 4 * hiddenSize),
        norm: { kind: 'layernorm', epsilon: read.number('layer_norm_epsilon', 1e-5) },
        mlp: { kind: 'dense', activation: read.choice('activation_function', 'gelu_new', gptActivations) },
        tieEmbeddings: read.flag('tie_word_embeddings', true),
        dropout,
        ...(embeddingDropout === dropout ? {} : { embeddingDropout }),
        initializerRange: read.number('initializer_range', 0.02),
        ...(bosTokenId === undefined ? {} : { bosTokenId }),
        eosTokenIds: read.tokenIds('eos_token_id', [50_256]),
      },
      file,
    );
  },

  toHuggingFace(config) {
    const kinds = Array.from({ length: config.layers }, (_, layer) => ((config.windows?.[layer] ?? 0) > 0 ? 'local' : 'global'));
    return {
      activation_function: activationName(config),
      attention_dropout: 0,
      attention_layers: kinds,
      attention_types: [[kinds, 1]],
      embed_dropout: config.embeddingDropout ?? config.dropout,
      hidden_size: config.hiddenSize,
      initializer_range: config.initializerRange,
      intermediate_size: config.intermediateSize,
      layer_norm_epsilon: config.norm.epsilon,
      max_position_embeddings: config.contextLength,
      num_heads: config.heads,
      num_layers: config.layers,
      resid_dropout: config.dropout,
      tie_word_embeddings: config.tieEmbeddings,
      window_size: config.windows?.find((window) => window > 0) ?? defaultWindow,
    };
  },

  fileTensors: (config) => gptTensors(config, { tokens: 'wte', positions: 'wpe' }, linears),

  /** Files of the bare model lack the prefix; the causal masks that old files carry are no weights. */
  canonicalName(name) {
    if (/^(transformer\.)?h\.\d+\.attn\.attention\.(bias|masked_bias)$/.test(name)) return undefined;
    return name.startsWith('transformer.') || name.startsWith('lm_head.') ? name : `transformer.${name}`;
  },
};

function linears({ hiddenSize: d, intermediateSize: inner }: ModelConfig, theirs: string, ours: string) {
  const [attention, own] = [`${theirs}.attn.attention`, `${ours}.attention`];
  return {
    attention: [
      ...linear(`${attention}.q_proj`, d, d, `${own}.query`, false),
      ...linear(`${attention}.k_proj`, d, d, `${own}.key`, false),
      ...linear(`${attention}.v_proj`, d, d, `${own}.value`, false),
      ...linear(`${attention}.out_proj`, d, d, `${own}.output`, true),
    ],
    mlp: [
      ...linear(`${theirs}.mlp.c_fc`, inner, d, `${ours}.mlp.up`, true),
      ...linear(`${theirs}.mlp.c_proj`, d, inner, `${ours}.mlp.down`, true),
    ],
  };
}

/** `attention_types` is a list of [kinds, how often they come]. */
function readWindows(read: ConfigReader, layers: number): number[] {
  const window = read.size('window_size', defaultWindow);
  const wanted = `a list of [kinds, times] for ${layers} layers, kinds "global" or "local"`;
  const kinds: unknown[] = [];
  for (const item of read.list('attention_types') ?? [[['global', 'local'], layers / 2]]) {
    const [some, times]: unknown[] = Array.isArray(item) ? item : [];
    if (!Array.isArray(some) || typeof times !== 'number' || !(times <= layers)) throw read.fault('attention_types', wanted);
    for (let time = 0; time < times; time += 1) kinds.push(...(some as unknown[]));
  }
  const isKnown = kinds.every((kind) => kind === 'global' || kind === 'local');
  if (kinds.length !== layers || !isKnown) throw read.fault('attention_types', wanted);
  return kinds.map((kind) => (kind === 'local' ? window : 0));
}

const fixed = {
  family: 'gpt3',
  positions: { kind: 'learned' },
  attentionScale: 1,
  bias: { qkv: false, output: true, mlp: true },
} as const satisfies Partial<ModelConfig>;
