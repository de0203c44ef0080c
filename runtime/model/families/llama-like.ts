// The families that go back to Llama (Touvron et al. 2023): RMSNorm, rotary positions, grouped attention, a gated MLP or a mixture of them.
import type { ModelConfig, ModelSize } from '../config.ts';
import { checkConfig, mostLayers } from './check-config.ts';
import { ConfigReader } from './config-reader.ts';
import type { Family, FileTensor } from './family.ts';
import { blocks, linear, plain } from './file-tensors.ts';
import { newSizes, roundUp } from './new-config.ts';
import { readRope, ropeKeys } from './rope.ts';

/** Values that stand for keys that a config.json leaves out. */
interface Defaults {
  readonly vocabularySize: number;
  readonly contextLength: number;
  readonly hiddenSize: number;
  readonly layers: number;
  readonly heads: number;
  /** As many as `heads` if absent. */
  readonly kvHeads?: number;
  /** hiddenSize / heads if absent. */
  readonly headSize?: number;
  readonly intermediateSize: number;
  readonly epsilon: number;
  readonly theta: number;
  readonly bosTokenId: readonly number[];
  readonly eosTokenIds: readonly number[];
}

/** In what a family differs from the others. */
interface Variant extends Pick<Family, 'name' | 'modelType' | 'architecture' | 'alternativeTensors'> {
  readonly defaults: Defaults;
  /** Settings of jobs beside those of all. */
  readonly settings: Parameters<typeof newSizes>[3];
  /** What a new model has of its own; `eps` and `theta` of jobs stand where the family has them. */
  readonly own: (size: ModelSize) => Partial<ModelConfig>;
  /** What config.json says of it; refuses what is not supported. */
  readonly read: (read: ConfigReader, sizes: { readonly layers: number; readonly contextLength: number }) => Partial<ModelConfig>;
  /** The keys that say it. */
  readonly keys: (config: ModelConfig) => Record<string, unknown>;
}

const noBias = { qkv: false, output: false, mlp: false } as const;

export function llamaLike(variant: Variant): Family {
  const { name, defaults } = variant;
  const mlp = { kind: 'gated' } as const;
  return {
    ...variant,

    newConfig(size, surroundings) {
      const sizes = newSizes(name, size, surroundings, ['kvHeads', 'ropeTheta', ...(variant.settings ?? [])]);
      return checkConfig(
        {
          ...sizes,
          family: name,
          intermediateSize: size.intermediateSize ?? roundUp((8 * size.hiddenSize) / 3, 16),
          norm: { kind: 'rmsnorm', epsilon: size.normEpsilon ?? 1e-5 },
          positions: { kind: 'rope', theta: size.ropeTheta ?? 10_000 },
          mlp,
          bias: noBias,
          ...variant.own(size),
        },
        'model.config',
      );
    },

    fromHuggingFace(json, file) {
      const read = new ConfigReader(json, file);
      read.refuse('attention_dropout', [0]);
      read.refuse('rope_interleaved', [false]);
      read.refuse('partial_rotary_factor', [1]);
      read.refuse('quantization_config');
      const hiddenSize = read.size('hidden_size', defaults.hiddenSize);
      const heads = read.size('num_attention_heads', defaults.heads);
      const layers = read.size('num_hidden_layers', defaults.layers, mostLayers);
      const contextLength = read.size('max_position_embeddings', defaults.contextLength);
      const hasHeadSize = read.has('head_dim') || defaults.headSize !== undefined;
      const [bosTokenId] = read.tokenIds('bos_token_id', defaults.bosTokenId);
      return checkConfig(
        {
          family: name,
          vocabularySize: read.size('vocab_size', defaults.vocabularySize),
          contextLength,
          hiddenSize,
          layers,
          heads,
          kvHeads: read.size('num_key_value_heads', read.isNull('num_key_value_heads') ? heads : (defaults.kvHeads ?? heads)),
          headSize: hasHeadSize ? read.size('head_dim', defaults.headSize) : hiddenSize / heads,
          intermediateSize: read.size('intermediate_size', defaults.intermediateSize),
          norm: { kind: 'rmsnorm', epsilon: read.number('rms_norm_eps', defaults.epsilon) },
          positions: { kind: 'rope', ...readRope(read, defaults.theta, contextLength) },
          mlp,
          bias: noBias,
          tieEmbeddings: read.flag('tie_word_embeddings', false),
          dropout: 0,
          initializerRange: read.number('initializer_range', 0.02),
          ...(bosTokenId === undefined ? {} : { bosTokenId }),
          eosTokenIds: read.tokenIds('eos_token_id', defaults.eosTokenIds),
          ...variant.read(read, { layers, contextLength }),
        },
        file,
      );
    },

    toHuggingFace(config) {
      return {
        attention_dropout: 0,
        head_dim: config.headSize,
        hidden_act: 'silu',
        hidden_size: config.hiddenSize,
        initializer_range: config.initializerRange,
        intermediate_size: config.intermediateSize,
        max_position_embeddings: config.contextLength,
        num_attention_heads: config.heads,
        num_hidden_layers: config.layers,
        num_key_value_heads: config.kvHeads,
        rms_norm_eps: config.norm.epsilon,
        ...(config.positions.kind === 'rope' ? ropeKeys(config.positions) : {}),
        tie_word_embeddings: config.tieEmbeddings,
        ...variant.keys(config),
      };
    },

    fileTensors: llamaTensors,

    /** Old files carry the frequencies of the rotary embedding, which follow from the configuration. */
    canonicalName(name) {
      return name.endsWith('.rotary_emb.inv_freq') ? undefined : name;
    },
  };
}

/** All tensors, each expert's on its own. */
function llamaTensors(config: ModelConfig): FileTensor[] {
  return modelTensors(config, mlpTensors);
}

/** The tensors of a model whose blocks have what `mlp` gives in place of the MLP. */
export function modelTensors(
  config: ModelConfig,
  mlp: (config: ModelConfig, theirs: string, ours: string) => readonly FileTensor[],
): FileTensor[] {
  const { hiddenSize: d, bias, norm } = config;
  const queries = config.heads * config.headSize;
  const keys = config.kvHeads * config.headSize;
  const isSandwich = norm.placement === 'sandwich';
  return [
    plain('model.embed_tokens.weight', [config.vocabularySize, d], 'embedding.tokens'),
    ...blocks(config.layers, (layer, ours) => {
      const theirs = `model.layers.${layer}`;
      const [attention, own] = [`${theirs}.self_attn`, `${ours}.attention`];
      const normTensor = (name: string, parameter: string) =>
        plain(`${theirs}.${name}.weight`, [d], `${ours}.${parameter}.weight`);
      return [
        normTensor('input_layernorm', 'attentionNorm'),
        ...linear(`${attention}.q_proj`, queries, d, `${own}.query`, bias.qkv),
        ...linear(`${attention}.k_proj`, keys, d, `${own}.key`, bias.qkv),
        ...linear(`${attention}.v_proj`, keys, d, `${own}.value`, bias.qkv),
        ...(norm.queriesAndKeys
          ? [
              plain(`${attention}.q_norm.weight`, [config.headSize], `${own}.queryNorm.weight`),
              plain(`${attention}.k_norm.weight`, [config.headSize], `${own}.keyNorm.weight`),
            ]
          : []),
        ...linear(`${attention}.o_proj`, d, queries, `${own}.output`, bias.output),
        ...(isSandwich ? [normTensor('post_attention_layernorm', 'attentionAfterNorm')] : []),
        normTensor(isSandwich ? 'pre_feedforward_layernorm' : 'post_attention_layernorm', 'mlpNorm'),
        ...mlp(config, theirs, ours),
        ...(isSandwich ? [normTensor('post_feedforward_layernorm', 'mlpAfterNorm')] : []),
      ];
    }),
    plain('model.norm.weight', [d], 'finalNorm.weight'),
    ...(config.tieEmbeddings ? [] : [plain('lm_head.weight', [config.vocabularySize, d], 'head')]),
  ];
}

function mlpTensors({ hiddenSize, intermediateSize, bias }: ModelConfig, theirs: string, ours: string): FileTensor[] {
  return [
    ...linear(`${theirs}.mlp.gate_proj`, intermediateSize, hiddenSize, `${ours}.mlp.gate`, bias.mlp),
    ...linear(`${theirs}.mlp.up_proj`, intermediateSize, hiddenSize, `${ours}.mlp.up`, bias.mlp),
    ...linear(`${theirs}.mlp.down_proj`, hiddenSize, intermediateSize, `${ours}.mlp.down`, bias.mlp),
  ];
}
