// Mistral (Jiang et al. 2023): Llama whose queries see a window of keys.
import type { ModelConfig } from '../config.ts';
import { llamaLike } from './llama-like.ts';
import { windowsOf } from './windows.ts';

export const mistralDefaults = {
  vocabularySize: 32_000,
  contextLength: 131_072,
  hiddenSize: 4096,
  layers: 32,
  heads: 32,
  kvHeads: 8,
  intermediateSize: 14_336,
  epsilon: 1e-6,
  theta: 10_000,
  bosTokenId: [1],
  eosTokenIds: [2],
} as const;

export const mistral = llamaLike({
  name: 'mistral',
  modelType: 'mistral',
  architecture: 'MistralForCausalLM',
  defaults: mistralDefaults,
  settings: ['headSize', 'window'],
  own: ({ layers, window = 0 }) => everywhere(layers, window),
  read(read, { layers }) {
    read.refuse('hidden_act', ['silu']);
    read.refuse('layer_types');
    return everywhere(layers, read.isNull('sliding_window') ? 0 : read.size('sliding_window', 4096));
  },
  keys: ({ windows }) => ({ sliding_window: windows?.[0] ?? null }),
});

/** The same window in all layers; 0: none. */
export function everywhere(layers: number, window: number): Pick<ModelConfig, 'windows'> {
  return windowsOf(Array.from({ length: layers }, () => window));
}
