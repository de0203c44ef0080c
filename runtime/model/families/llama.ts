// Llama (Touvron et al. 2023): RMSNorm, rotary positions, grouped attention, a gated SiLU MLP. Also SmolLM2 and others of the same model_type.
import { checkConfig } from './check-config.ts';
import { ConfigReader } from './config-reader.ts';
import type { Family, FileTensor } from './family.ts';

export const llama: Family = {
  name: 'llama',
  architecture: 'LlamaForCausalLM',

  newConfig(size, surroundings) {
    return checkConfig(
      {
        family: 'llama',
        vocabularySize: surroundings.vocabularySize,
        contextLength: size.contextLength ?? surroundings.trainingLength,
        hiddenSize: size.hiddenSize,
        layers: size.layers,
        heads: size.heads,
        kvHeads: size.kvHeads ?? size.heads,
        headSize: size.hiddenSize / size.heads,
        intermediateSize: size.intermediateSize ?? roundUp((8 * size.hiddenSize) / 3, 16),
        norm: { kind: 'rmsnorm', epsilon: size.normEpsilon ?? 1e-5 },
        positions: { kind: 'rope', theta: size.ropeTheta ?? 10_000 },
        mlp: { kind: 'gated' },
        bias: { qkv: false, output: false, mlp: false },
        tieEmbeddings: size.tieEmbeddings ?? true,
        dropout: size.dropout ?? 0,
        initializerRange: 0.02,
        ...(surroundings.bosTokenId === undefined ? {} : { bosTokenId: surroundings.bosTokenId }),
        eosTokenIds: surroundings.eosTokenIds ?? [],
      },
      'model.config',
    );
  },

  fromHuggingFace(json, file) {
    const read = new ConfigReader(json, file);
    read.refuse('hidden_act', ['silu']);
    read.refuse('attention_dropout', [0]);
    read.refuse('sliding_window');
    read.refuse('rope_interleaved', [false]);
    read.refuse('partial_rotary_factor', [1]);
    read.refuse('quantization_config');
    const hiddenSize = read.size('hidden_size', 4096);
    const heads = read.size('num_attention_heads', 32);
    const hasBias = read.flag('attention_bias', false);
    const [bosTokenId] = read.tokenIds('bos_token_id', [1]);
    return checkConfig(
      {
        family: 'llama',
        vocabularySize: read.size('vocab_size', 32_000),
        contextLength: read.size('max_position_embeddings', 2048),
        hiddenSize,
        layers: read.size('num_hidden_layers', 32),
        heads,
        kvHeads: read.size('num_key_value_heads', heads),
        headSize: json['head_dim'] === undefined || json['head_dim'] === null ? hiddenSize / heads : read.size('head_dim'),
        intermediateSize: read.size('intermediate_size', 11_008),
        norm: { kind: 'rmsnorm', epsilon: read.number('rms_norm_eps', 1e-6) },
        positions: { kind: 'rope', theta: readTheta(read) },
        mlp: { kind: 'gated' },
        bias: { qkv: hasBias, output: hasBias, mlp: read.flag('mlp_bias', false) },
        tieEmbeddings: read.flag('tie_word_embeddings', false),
        dropout: 0,
        initializerRange: read.number('initializer_range', 0.02),
        ...(bosTokenId === undefined ? {} : { bosTokenId }),
        eosTokenIds: read.tokenIds('eos_token_id', [2]),
      },
      file,
    );
  },

  toHuggingFace(config) {
    const theta = config.positions.kind === 'rope' ? config.positions.theta : undefined;
    return {
      attention_bias: config.bias.qkv,
      attention_dropout: 0,
      head_dim: config.headSize,
      hidden_act: 'silu',
      hidden_size: config.hiddenSize,
      initializer_range: config.initializerRange,
      intermediate_size: config.intermediateSize,
      max_position_embeddings: config.contextLength,
      mlp_bias: config.bias.mlp,
      num_attention_heads: config.heads,
      num_hidden_layers: config.layers,
      num_key_value_heads: config.kvHeads,
      rms_norm_eps: config.norm.epsilon,
      rope_parameters: { rope_theta: theta, rope_type: 'default' },
      rope_scaling: null,
      rope_theta: theta,
      tie_word_embeddings: config.tieEmbeddings,
    };
  },

  fileTensors(config) {
    const { hiddenSize: d, intermediateSize: inner } = config;
    const queries = config.heads * config.headSize;
    const keys = config.kvHeads * config.headSize;
    const plain = (name: string, shape: readonly number[], parameter: string): FileTensor => ({
      name,
      shape,
      parameters: [parameter],
      transposed: false,
    });
    const layer = (name: string, out: number, from: number, ours: string, hasBias: boolean) => [
      plain(`${name}.weight`, [out, from], `${ours}.weight`),
      ...(hasBias ? [plain(`${name}.bias`, [out], `${ours}.bias`)] : []),
    ];
    const blocks = Array.from({ length: config.layers }, (_, index) => {
      const [theirs, ours] = [`model.layers.${index}`, `blocks.${index}`];
      const [attention, mlp] = [`${theirs}.self_attn`, `${theirs}.mlp`];
      return [
        plain(`${theirs}.input_layernorm.weight`, [d], `${ours}.attentionNorm.weight`),
        ...layer(`${attention}.q_proj`, queries, d, `${ours}.attention.query`, config.bias.qkv),
        ...layer(`${attention}.k_proj`, keys, d, `${ours}.attention.key`, config.bias.qkv),
        ...layer(`${attention}.v_proj`, keys, d, `${ours}.attention.value`, config.bias.qkv),
        ...layer(`${attention}.o_proj`, d, queries, `${ours}.attention.output`, config.bias.output),
        plain(`${theirs}.post_attention_layernorm.weight`, [d], `${ours}.mlpNorm.weight`),
        ...layer(`${mlp}.gate_proj`, inner, d, `${ours}.mlp.gate`, config.bias.mlp),
        ...layer(`${mlp}.up_proj`, inner, d, `${ours}.mlp.up`, config.bias.mlp),
        ...layer(`${mlp}.down_proj`, d, inner, `${ours}.mlp.down`, config.bias.mlp),
      ];
    });
    return [
      plain('model.embed_tokens.weight', [config.vocabularySize, d], 'embedding.tokens'),
      ...blocks.flat(),
      plain('model.norm.weight', [d], 'finalNorm.weight'),
      ...(config.tieEmbeddings ? [] : [plain('lm_head.weight', [config.vocabularySize, d], 'head')]),
    ];
  },

  /** Old files carry the frequencies of the rotary embedding, which follow from the configuration. */
  canonicalName(name) {
    return name.endsWith('.rotary_emb.inv_freq') ? undefined : name;
  },
};

/** The base of the rotary angles, as older configurations (`rope_theta`, `rope_scaling`) or newer ones (`rope_parameters`) give it. */
function readTheta(read: ConfigReader): number {
  for (const key of ['rope_scaling', 'rope_parameters']) {
    const rope = read.record(key);
    const type = rope?.['rope_type'] ?? rope?.['type'];
    if (type !== undefined && type !== 'default') throw read.fault(key, 'of type "default": no other is supported');
    if (rope?.['partial_rotary_factor'] !== undefined && rope['partial_rotary_factor'] !== 1) {
      throw read.fault(key, 'without a partial_rotary_factor');
    }
  }
  const theta = read.record('rope_parameters')?.['rope_theta'];
  if (theta === undefined) return read.number('rope_theta', 10_000, 1);
  if (typeof theta !== 'number' || !(theta >= 1)) throw read.fault('rope_parameters', 'one with a rope_theta from 1');
  return theta;
}

function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}
