// Llama 1 to 3 (Touvron et al. 2023, Grattafiori et al. 2024). Also SmolLM2 and others of the same model_type.
import { llamaLike } from './llama-like.ts';

export const llama = llamaLike({
  name: 'llama',
  modelType: 'llama',
  architecture: 'LlamaForCausalLM',
  defaults: {
    vocabularySize: 32_000,
    contextLength: 2048,
    hiddenSize: 4096,
    layers: 32,
    heads: 32,
    intermediateSize: 11_008,
    epsilon: 1e-6,
    theta: 10_000,
    bosTokenId: [1],
    eosTokenIds: [2],
  },
  settings: ['headSize'],
  own: () => ({}),
  read(read) {
    read.refuse('hidden_act', ['silu']);
    read.refuse('sliding_window');
    const hasBias = read.flag('attention_bias', false);
    return { bias: { qkv: hasBias, output: hasBias, mlp: read.flag('mlp_bias', false) } };
  },
  keys: ({ bias }) => ({ attention_bias: bias.qkv, mlp_bias: bias.mlp }),
});
