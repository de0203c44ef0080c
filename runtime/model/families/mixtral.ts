// Mixtral (Jiang et al. 2024): Mistral whose MLP is a mixture of experts.
import type { FileTensor } from './family.ts';
import type { ModelConfig } from '../config.ts';
import { plain } from './file-tensors.ts';
import { llamaLike, modelTensors } from './llama-like.ts';
import type { Family } from './family.ts';
import { everywhere, mistralDefaults } from './mistral.ts';

export const mixtral: Family = {
  ...llamaLike({
    name: 'mixtral',
    modelType: 'mixtral',
    architecture: 'MixtralForCausalLM',
    defaults: { ...mistralDefaults, epsilon: 1e-5, theta: 1_000_000 },
    settings: ['headSize', 'window', 'experts', 'expertsPerToken'],
    own: ({ layers, window = 0, experts = 8, expertsPerToken = 2 }) => ({
      ...everywhere(layers, window),
      mixture: { experts, perToken: expertsPerToken, balance: 0.01, z: 0.001 },
    }),
    read(read, { layers }) {
      read.refuse('hidden_act', ['silu']);
      read.refuse('router_jitter_noise', [0]);
      const isTrained = read.flag('output_router_logits', false);
      const coefficient = read.number('router_aux_loss_coef', 0.001);
      return {
        ...everywhere(layers, read.isNull('sliding_window') ? 0 : read.number('sliding_window', 0)),
        mixture: {
          experts: read.size('num_local_experts', 8),
          perToken: read.size('num_experts_per_tok', 2),
          balance: isTrained ? coefficient : 0,
          z: read.number('router_z_loss_coef', 0),
        },
      };
    },
    keys: ({ windows, mixture }) => ({
      num_experts_per_tok: mixture?.perToken,
      num_local_experts: mixture?.experts,
      output_router_logits: (mixture?.balance ?? 0) > 0,
      router_aux_loss_coef: mixture?.balance,
      router_jitter_noise: 0,
      router_z_loss_coef: mixture?.z,
      sliding_window: windows?.[0] ?? null,
    }),
  }),

  fileTensors: (config) => modelTensors(config, expertTensors),
  alternativeTensors: (config) => [modelTensors(config, fusedTensors)],
};

/** One tensor for each layer of each expert, as files have them. */
function expertTensors(
  { hiddenSize: d, intermediateSize: inner, mixture }: ModelConfig,
  theirs: string,
  ours: string,
): FileTensor[] {
  const moe = `${theirs}.block_sparse_moe`;
  return [
    plain(`${moe}.gate.weight`, [mixture?.experts ?? 0, d], `${ours}.mlp.router.weight`),
    ...Array.from({ length: mixture?.experts ?? 0 }, (_, expert) => {
      const [file, own] = [`${moe}.experts.${expert}`, `${ours}.mlp.experts.${expert}`];
      return [
        plain(`${file}.w1.weight`, [inner, d], `${own}.gate.weight`),
        plain(`${file}.w2.weight`, [d, inner], `${own}.down.weight`),
        plain(`${file}.w3.weight`, [inner, d], `${own}.up.weight`),
      ];
    }).flat(),
  ];
}

/** All experts of a layer in two tensors, as newer files may have them. */
function fusedTensors(
  { hiddenSize: d, intermediateSize: inner, mixture }: ModelConfig,
  theirs: string,
  ours: string,
): FileTensor[] {
  const count = mixture?.experts ?? 0;
  const all = (parts: readonly string[]) =>
    Array.from({ length: count }, (_, expert) => parts.map((part) => `${ours}.mlp.experts.${expert}.${part}.weight`)).flat();
  const experts = `${theirs}.mlp.experts`;
  return [
    plain(`${theirs}.mlp.gate.weight`, [count, d], `${ours}.mlp.router.weight`),
    { name: `${experts}.gate_up_proj`, shape: [count, 2 * inner, d], parameters: all(['gate', 'up']), transposed: false },
    { name: `${experts}.down_proj`, shape: [count, d, inner], parameters: all(['down']), transposed: false },
  ];
}
