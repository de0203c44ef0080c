// Qwen2 (Yang et al. 2024): Llama with biases on queries, keys and values. Qwen3 (Yang et al. 2025): without them, heads normalised.
import type { ModelConfig } from '../config.ts';
import type { ConfigReader } from './config-reader.ts';
import { llamaLike } from './llama-like.ts';
import { readLayerTypes, windowKeys, windowsOf } from './windows.ts';

const defaults = {
  vocabularySize: 151_936,
  contextLength: 32_768,
  hiddenSize: 4096,
  layers: 32,
  heads: 32,
  kvHeads: 32,
  intermediateSize: 22_016,
  epsilon: 1e-6,
  theta: 10_000,
  bosTokenId: [],
  eosTokenIds: [],
} as const;

export const qwen2 = llamaLike({
  name: 'qwen2',
  modelType: 'qwen2',
  architecture: 'Qwen2ForCausalLM',
  defaults,
  settings: [],
  own: ({ normEpsilon = 1e-6, ropeTheta = 1_000_000 }) => ({
    norm: { kind: 'rmsnorm', epsilon: normEpsilon },
    positions: { kind: 'rope', theta: ropeTheta },
    bias: { qkv: true, output: false, mlp: false },
  }),
  read(read, { layers }) {
    read.refuse('hidden_act', ['silu']);
    return { ...readWindows(read, layers), bias: { qkv: true, output: false, mlp: false } };
  },
  keys: windowFlags,
});

export const qwen3 = llamaLike({
  name: 'qwen3',
  modelType: 'qwen3',
  architecture: 'Qwen3ForCausalLM',
  defaults: { ...defaults, headSize: 128 },
  settings: ['headSize'],
  own: ({ normEpsilon = 1e-6, ropeTheta = 1_000_000 }) => ({
    norm: { kind: 'rmsnorm', epsilon: normEpsilon, queriesAndKeys: true },
    positions: { kind: 'rope', theta: ropeTheta },
  }),
  read(read, { layers }) {
    read.refuse('hidden_act', ['silu']);
    const hasBias = read.flag('attention_bias', false);
    return {
      ...readWindows(read, layers),
      norm: { kind: 'rmsnorm', epsilon: read.number('rms_norm_eps', defaults.epsilon), queriesAndKeys: true },
      bias: { qkv: hasBias, output: hasBias, mlp: false },
    };
  },
  keys: (config) => ({ ...windowFlags(config), attention_bias: config.bias.qkv }),
});

function readWindows(read: ConfigReader, layers: number): Pick<ModelConfig, 'windows'> {
  const isUsed = read.flag('use_sliding_window', false);
  const window = () => read.size('sliding_window', 4096);
  const first = isUsed ? read.number('max_window_layers', 28) : layers;
  const byFlags = () => Array.from({ length: layers }, (_, layer) => (layer >= first ? window() : 0));
  return windowsOf(readLayerTypes(read, layers, window) ?? byFlags());
}

function windowFlags({ layers, windows }: ModelConfig): Record<string, unknown> {
  const first = windows?.findIndex((window) => window > 0) ?? layers;
  return { ...windowKeys(layers, windows), max_window_layers: first, use_sliding_window: windows !== undefined };
}
