// Small configurations and synthetic weights for the tests of this room and of its neighbours.
import type { ModelConfig } from './config.ts';
import { newModelConfig } from './families/families.ts';
import { parameterSpecs } from './parameters.ts';
import type { WeightSource } from './weight-source.ts';

/** Two layers, grouped attention, an odd vocabulary. */
export const tinyLlama: ModelConfig = newModelConfig(
  'llama',
  { hiddenSize: 24, layers: 2, heads: 6, kvHeads: 2, intermediateSize: 40 },
  { vocabularySize: 37, trainingLength: 16, bosTokenId: 0, eosTokenIds: [0] },
);

export const tinyGpt2: ModelConfig = newModelConfig(
  'gpt2',
  { hiddenSize: 24, layers: 2, heads: 3 },
  { vocabularySize: 37, trainingLength: 16, bosTokenId: 0, eosTokenIds: [0] },
);

/** Three experts, of which each token goes to two. */
export const tinyMixtral: ModelConfig = newModelConfig(
  'mixtral',
  { hiddenSize: 24, layers: 2, heads: 6, kvHeads: 2, intermediateSize: 16, experts: 3 },
  { vocabularySize: 37, trainingLength: 16, bosTokenId: 0, eosTokenIds: [0] },
);

/** Linear biases by distance; queries, keys and values in one tensor of files, head by head. */
export const tinyBloom: ModelConfig = newModelConfig(
  'bloom',
  { hiddenSize: 24, layers: 2, heads: 3 },
  { vocabularySize: 37, trainingLength: 16, bosTokenId: 0, eosTokenIds: [0] },
);

/** Windows in all layers but the last, norms around each part, normalised heads. */
export const tinyGemma3: ModelConfig = newModelConfig(
  'gemma3',
  { hiddenSize: 24, layers: 6, heads: 3, headSize: 8, intermediateSize: 32, window: 4 },
  { vocabularySize: 37, trainingLength: 16, bosTokenId: 0, eosTokenIds: [0] },
);

/** Norms after each part. */
export const tinyGpt1: ModelConfig = newModelConfig(
  'gpt1',
  { hiddenSize: 24, layers: 2, heads: 3 },
  { vocabularySize: 37, trainingLength: 16, bosTokenId: 0, eosTokenIds: [0] },
);

/** Weights in which every value names its place: no two elements of a model are equal. */
export function syntheticWeights(config: ModelConfig): WeightSource {
  const specs = parameterSpecs(config);
  const sizes = specs.map(({ shape }) => shape.reduce((size, dim) => size * dim, 1));
  return {
    config,
    async read(name) {
      const index = specs.findIndex((spec) => spec.name === name);
      const first = sizes.slice(0, index).reduce((sum, size) => sum + size, 0);
      return Float32Array.from({ length: sizes[index] ?? 0 }, (_, offset) => (first + offset) / 1024);
    },
  };
}
