import { expect, it } from 'vitest';
import type { ModelConfig, ModelFamily } from '../config.ts';
import { parameterCount, parameterSpecs } from '../parameters.ts';
import { tinyGpt2, tinyLlama } from '../testing.ts';
import { familyOf, huggingFaceConfig, newModelConfig, parseHuggingFaceConfig } from './families.ts';

const otherFamilies = ['gpt1', 'gpt3', 'opt', 'bloom', 'qwen2', 'qwen3', 'mistral', 'mixtral', 'gemma3'] as const;

const llama3Scaling = {
  kind: 'llama3',
  factor: 8,
  lowFrequencyFactor: 1,
  highFrequencyFactor: 4,
  originalContextLength: 8192,
} as const;

function newTiny(family: ModelFamily): ModelConfig {
  const isWindowed = family === 'mistral';
  const size = { hiddenSize: 24, layers: 2, heads: 3, ...(isWindowed ? { window: 5 } : {}) };
  return newModelConfig(family, size, { vocabularySize: 37, trainingLength: 16, bosTokenId: 0, eosTokenIds: [0] });
}

const configs: readonly (readonly [string, ModelConfig])[] = [
  ['gpt2', tinyGpt2],
  ['gpt2 with its own head', { ...tinyGpt2, tieEmbeddings: false }],
  ['llama', tinyLlama],
  ...otherFamilies.map((family): [string, ModelConfig] => [`new ${family}`, newTiny(family)]),
  ['gpt2 whose scores are scaled by layer', { ...tinyGpt2, scaleByLayer: true }],
  ['llama with scaled angles', { ...tinyLlama, positions: { kind: 'rope', theta: 500_000, scaling: llama3Scaling } }],
  ['qwen2 with windows in its last layers', { ...newTiny('qwen2'), windows: [0, 7] }],
  [
    'opt with norms after each part',
    { ...newTiny('opt'), norm: { kind: 'layernorm', epsilon: 1e-5, placement: 'post', final: false } },
  ],
  ['bloom with dropout', { ...newTiny('bloom'), dropout: 0.1, embeddingDropout: 0 }],
  [
    'gemma3 with stretched angles',
    { ...newTiny('gemma3'), positions: { kind: 'rope', theta: 1e6, scaling: { kind: 'linear', factor: 8 }, windowTheta: 1e4 } },
  ],
  ['llama with biases and its own head', { ...tinyLlama, tieEmbeddings: false, bias: { qkv: true, output: true, mlp: true } }],
];

it.each(configs)('%s: every parameter has its place in the files once, and sizes agree', (_, config) => {
  const tensors = familyOf(config).fileTensors(config);
  const specs = parameterSpecs(config);
  expect(tensors.flatMap(({ parameters }) => parameters).sort()).toEqual(specs.map(({ name }) => name).sort());
  expect(new Set(tensors.map(({ name }) => name)).size).toBe(tensors.length);
  const elements = (shape: readonly number[]) => shape.reduce((size, dim) => size * dim, 1);
  for (const { shape, parameters } of tensors) {
    const parts = parameters.map((name) => elements(specs.find((spec) => spec.name === name)?.shape ?? []));
    expect(parts.reduce((sum, size) => sum + size, 0)).toBe(elements(shape));
  }
});

it.each(configs)('%s: config.json written and read gives the same configuration', (_, config) => {
  expect(parseHuggingFaceConfig(structuredClone(huggingFaceConfig(config)), 'config.json')).toEqual(config);
});

it('counts the parameters of released models from their config.json', () => {
  const smollm2 = {
    model_type: 'llama',
    vocab_size: 49152,
    hidden_size: 576,
    intermediate_size: 1536,
    num_hidden_layers: 30,
    num_attention_heads: 9,
    num_key_value_heads: 3,
    max_position_embeddings: 8192,
    rope_theta: 100000,
    rope_scaling: null,
    rope_interleaved: false,
    tie_word_embeddings: true,
  };
  expect(parameterCount(parseHuggingFaceConfig({ model_type: 'gpt2' }, 'f'))).toBe(124_439_808);
  expect(parameterCount(parseHuggingFaceConfig(smollm2, 'f'))).toBe(134_515_008);
  expect(parameterCount(parseHuggingFaceConfig({ model_type: 'llama' }, 'f'))).toBe(6_738_415_616);
});

it('takes the rotary base from rope_theta or rope_parameters', () => {
  const theta = (json: object) => parseHuggingFaceConfig({ model_type: 'llama', ...json }, 'f').positions;
  expect(theta({})).toEqual({ kind: 'rope', theta: 10_000 });
  expect(theta({ rope_theta: 5e5 })).toEqual({ kind: 'rope', theta: 5e5 });
  expect(theta({ rope_parameters: { rope_type: 'default', rope_theta: 1e6 } })).toEqual({ kind: 'rope', theta: 1e6 });
});

it('takes scaled angles from rope_scaling or rope_parameters', () => {
  const positions = (json: object) => parseHuggingFaceConfig({ model_type: 'llama', ...json }, 'f').positions;
  const keys = { factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 };
  const wanted = { kind: 'rope', theta: 5e5, scaling: llama3Scaling };
  expect(positions({ rope_theta: 5e5, rope_scaling: { ...keys, rope_type: 'llama3' } })).toEqual(wanted);
  expect(positions({ rope_parameters: { ...keys, rope_type: 'llama3', rope_theta: 5e5 } })).toEqual(wanted);
  expect(positions({ rope_scaling: { type: 'linear', factor: 2 } })).toEqual({
    kind: 'rope',
    theta: 1e4,
    scaling: { kind: 'linear', factor: 2 },
  });
});

it('takes the windows of layers from flags of older files or from the kinds of layers', () => {
  const windows = (json: object) => parseHuggingFaceConfig({ num_hidden_layers: 3, ...json }, 'f').windows;
  const types = ['full_attention', 'sliding_attention', 'sliding_attention'];
  const flags = { sliding_window: 8, use_sliding_window: true, max_window_layers: 1 };
  expect(windows({ model_type: 'qwen2', ...flags })).toEqual([0, 8, 8]);
  expect(windows({ model_type: 'qwen2', ...flags, use_sliding_window: false })).toBeUndefined();
  expect(windows({ model_type: 'qwen3', sliding_window: 8, layer_types: types })).toEqual([0, 8, 8]);
  expect(windows({ model_type: 'mistral' })).toEqual([4096, 4096, 4096]);
  expect(windows({ model_type: 'mistral', sliding_window: null })).toBeUndefined();
  expect(windows({ model_type: 'mixtral' })).toBeUndefined();
  expect(windows({ model_type: 'gemma3_text', sliding_window: 8, sliding_window_pattern: 3 })).toEqual([8, 8, 0]);
  expect(windows({ model_type: 'gemma3_text', sliding_window: 8, layer_types: types })).toEqual([0, 8, 8]);
  expect(
    parseHuggingFaceConfig({ model_type: 'gpt_neo', num_layers: 2, attention_types: [[['global', 'local'], 1]] }, 'f').windows,
  ).toEqual([0, 256]);
});

it('keeps no token, one token or several for the end of text', () => {
  const ids = (value: unknown) => {
    const config = parseHuggingFaceConfig({ model_type: 'llama', eos_token_id: value, bos_token_id: null }, 'f');
    return [config.eosTokenIds, huggingFaceConfig(config)['eos_token_id'], config.bosTokenId];
  };
  expect(ids(null)).toEqual([[], null, undefined]);
  expect(ids(7)).toEqual([[7], 7, undefined]);
  expect(ids([7, 9])).toEqual([[7, 9], [7, 9], undefined]);
});

it('refuses by name what it does not support', () => {
  const refusal = (json: object) => {
    try {
      parseHuggingFaceConfig(json, 'config.json');
      return 'accepted';
    } catch (error) {
      return (error as Error).message;
    }
  };
  const llama = { model_type: 'llama' };
  const gpt2 = { model_type: 'gpt2' };
  expect(
    [
      [],
      { model_type: 'mamba' },
      {},
      { ...llama, rope_scaling: { rope_type: 'llama3', factor: 8 } },
      { ...llama, rope_scaling: { type: 'linear', factor: -2 } },
      { ...llama, rope_parameters: { rope_type: 'yarn', rope_theta: 1e4 } },
      { ...llama, sliding_window: 4096 },
      { ...llama, hidden_act: 'gelu' },
      { ...llama, attention_dropout: 0.1 },
      { ...llama, rope_interleaved: true },
      { ...llama, quantization_config: { bits: 4 } },
      { ...llama, num_attention_heads: 30 },
      { ...llama, num_key_value_heads: 5 },
      { ...llama, hidden_size: '4096' },
      { ...llama, vocab_size: 1e12 },
      ...['llama', 'gemma3_text', 'mixtral', 'opt'].map((model_type) => ({ model_type, num_hidden_layers: 2 ** 31 - 1 })),
      ...['gpt2', 'openai-gpt', 'bloom'].map((model_type) => ({ model_type, n_layer: 4097 })),
      { model_type: 'gpt_neo', num_layers: 4098 },
      { model_type: 'mixtral', num_hidden_layers: 4000, num_local_experts: 4000 },
      { ...llama, hidden_size: 96, head_dim: 3 },
      { model_type: 'opt', word_embed_proj_dim: 512, hidden_size: 1024, num_attention_heads: 16 },
      { model_type: 'opt', enable_bias: false },
      { model_type: 'bloom', apply_residual_connection_post_layernorm: true },
      { model_type: 'gpt_neo', attention_types: [[['global', 'local'], 2]] },
      { model_type: 'gemma3_text', final_logit_softcapping: 30 },
      { model_type: 'qwen3', num_hidden_layers: 1, layer_types: ['chunked_attention'] },
      { model_type: 'mixtral', router_jitter_noise: 0.01 },
      { model_type: 'mixtral', num_experts_per_tok: 9 },
      { ...gpt2, scale_attn_weights: false },
      { ...gpt2, add_cross_attention: true },
      { ...gpt2, activation_function: 'swish' },
      { ...gpt2, embd_pdrop: 0.2 },
      { ...gpt2, eos_token_id: 'end' },
    ].map(refusal),
  ).toMatchInlineSnapshot(`
    [
      "config.json: it is not a JSON object",
      "config.json: model_type is "mamba" but must be one of openai-gpt, gpt2, gpt_neo, opt, bloom, llama, qwen2, qwen3, mistral, mixtral, gemma3_text",
      "config.json: model_type is absent but must be one of openai-gpt, gpt2, gpt_neo, opt, bloom, llama, qwen2, qwen3, mistral, mixtral, gemma3_text",
      "config.json: rope_scaling is {"rope_type":"llama3","factor":8} but must be one with a low_freq_factor above 0",
      "config.json: rope_scaling is {"type":"linear","factor":-2} but must be one with a factor above 0",
      "config.json: rope_parameters is {"rope_type":"yarn","rope_theta":10000} but must be of type "default", "linear" or "llama3": no other is supported",
      "config.json: sliding_window is 4096 but must be absent: it is not supported",
      "config.json: hidden_act is "gelu" but must be silu: nothing else is supported",
      "config.json: attention_dropout is 0.1 but must be 0: nothing else is supported",
      "config.json: rope_interleaved is true but must be false: nothing else is supported",
      "config.json: quantization_config is {"bits":4} but must be absent: it is not supported",
      "config.json: 30 heads do not divide a hidden size of 4096",
      "config.json: 5 key-value heads do not divide 32 heads",
      "config.json: hidden_size is "4096" but must be a whole number from 1",
      "config.json: vocab_size is 1000000000000 but must be a whole number from 1",
      "config.json: num_hidden_layers is 2147483647 but must be a whole number from 1 to 4096",
      "config.json: num_hidden_layers is 2147483647 but must be a whole number from 1 to 4096",
      "config.json: num_hidden_layers is 2147483647 but must be a whole number from 1 to 4096",
      "config.json: num_hidden_layers is 2147483647 but must be a whole number from 1 to 4096",
      "config.json: n_layer is 4097 but must be a whole number from 1 to 4096",
      "config.json: n_layer is 4097 but must be a whole number from 1 to 4096",
      "config.json: n_layer is 4097 but must be a whole number from 1 to 4096",
      "config.json: num_layers is 4098 but must be a whole number from 1 to 4096",
      "config.json: 4000 layers with 4000 experts each are more than 65536 experts",
      "config.json: rotary positions need an even head size, not 3",
      "config.json: word_embed_proj_dim is 512 but must be the same as hidden_size (1024): no other is supported",
      "config.json: enable_bias is false but must be true: nothing else is supported",
      "config.json: apply_residual_connection_post_layernorm is true but must be false: nothing else is supported",
      "config.json: attention_types is [[["global","local"],2]] but must be a list of [kinds, times] for 24 layers, kinds "global" or "local"",
      "config.json: final_logit_softcapping is 30 but must be absent: it is not supported",
      "config.json: layer_types is ["chunked_attention"] but must be made of "full_attention" and "sliding_attention": no other is supported",
      "config.json: router_jitter_noise is 0.01 but must be 0: nothing else is supported",
      "config.json: a token can't go to 9 of 8 experts",
      "config.json: scale_attn_weights is false but must be true: nothing else is supported",
      "config.json: add_cross_attention is true but must be false: nothing else is supported",
      "config.json: activation_function is "swish" but must be gelu_new or gelu_pytorch_tanh or gelu or relu",
      "config.json: embd_pdrop is 0.2 but must be the same as resid_pdrop (0.1)",
      "config.json: eos_token_id is "end" but must be token ids",
    ]
  `);
});

it('refuses settings of another family in a job', () => {
  const size = { hiddenSize: 24, layers: 1, heads: 3 };
  const surroundings = { vocabularySize: 8, trainingLength: 4 };
  expect(() => newModelConfig('gpt2', { ...size, ropeTheta: 1e4 }, surroundings)).toThrowErrorMatchingInlineSnapshot(
    `[WindlassError: model.config.ropeTheta is not a setting of family gpt2]`,
  );
  expect(() => newModelConfig('gpt2', { ...size, kvHeads: 1 }, surroundings)).toThrowErrorMatchingInlineSnapshot(
    `[WindlassError: model.config.kvHeads is not a setting of family gpt2]`,
  );
  expect(() => newModelConfig('llama', { ...size, heads: 5 }, surroundings)).toThrowErrorMatchingInlineSnapshot(
    `[WindlassError: model.config: 5 heads do not divide a hidden size of 24]`,
  );
  expect(() => newModelConfig('llama', { ...size, heads: 8 }, surroundings)).toThrowErrorMatchingInlineSnapshot(
    `[WindlassError: model.config: rotary positions need an even head size, not 3]`,
  );
});

it('fills in the sizes that a job leaves out', () => {
  const surroundings = { vocabularySize: 4096, trainingLength: 256 };
  const llama = newModelConfig('llama', { hiddenSize: 200, layers: 6, heads: 4 }, surroundings);
  expect([llama.intermediateSize, llama.contextLength, llama.kvHeads, llama.tieEmbeddings]).toEqual([544, 256, 4, true]);
  expect(newModelConfig('gpt2', { hiddenSize: 192, layers: 6, heads: 6 }, surroundings).intermediateSize).toBe(768);
});

it('scales the initial residual projections of gpt2 and decays matrices only', () => {
  const specs = new Map(parameterSpecs(tinyGpt2).map((spec) => [spec.name, spec]));
  expect(specs.get('blocks.1.mlp.down.weight')?.init).toEqual({ kind: 'normal', std: 0.01 });
  expect(specs.get('blocks.1.mlp.up.weight')?.init).toEqual({ kind: 'normal', std: 0.02 });
  expect([...specs.values()].filter(({ decay, shape }) => decay !== shape.length > 1)).toEqual([]);
});
