// Gemma 3 (Gemma Team 2025), text models: norms around each part with weights from 1, normalised heads, most layers with a window.
import type { ModelConfig } from '../config.ts';
import type { ConfigReader } from './config-reader.ts';
import { llamaLike } from './llama-like.ts';
import { readScaling, scalingKeys } from './rope.ts';
import { readLayerTypes, windowKeys, windowsOf } from './windows.ts';

const epsilon = 1e-6;
const contextLength = 131_072;
const thetas = { full: 1_000_000, window: 10_000 } as const;
/** Every sixth layer sees all keys. */
const pattern = 6;

const activations = { gelu_pytorch_tanh: 'gelu-tanh' } as const;

export const gemma3 = llamaLike({
  name: 'gemma3',
  modelType: 'gemma3_text',
  architecture: 'Gemma3ForCausalLM',
  defaults: {
    vocabularySize: 262_208,
    contextLength,
    hiddenSize: 2304,
    layers: 26,
    heads: 8,
    kvHeads: 4,
    headSize: 256,
    intermediateSize: 9216,
    epsilon,
    theta: thetas.full,
    bosTokenId: [2],
    eosTokenIds: [1],
  },
  settings: ['headSize', 'window'],
  own: ({
    layers,
    heads,
    hiddenSize,
    window = 512,
    headSize = hiddenSize / heads,
    normEpsilon = epsilon,
    ropeTheta = thetas.full,
  }) => ({
    ...common(normEpsilon, hiddenSize),
    ...windowsOf(Array.from({ length: layers }, (_, layer) => ((layer + 1) % pattern === 0 ? 0 : window))),
    positions: { kind: 'rope', theta: ropeTheta, windowTheta: thetas.window },
    attentionScale: headSize ** -0.5,
  }),
  read(read, sizes) {
    for (const key of ['attn_logit_softcapping', 'final_logit_softcapping']) read.refuse(key);
    read.refuse('use_bidirectional_attention', [false]);
    const activation = read.choice('hidden_activation', 'gelu_pytorch_tanh', activations);
    const every = read.size('sliding_window_pattern', pattern);
    const window = read.size('sliding_window', 4096);
    const byPattern = () => Array.from({ length: sizes.layers }, (_, layer) => ((layer + 1) % every === 0 ? 0 : window));
    const hasBias = read.flag('attention_bias', false);
    return {
      ...common(read.number('rms_norm_eps', epsilon), read.size('hidden_size', 2304)),
      mlp: { kind: 'gated', activation },
      ...windowsOf(readLayerTypes(read, sizes.layers, () => window) ?? byPattern()),
      positions: readPositions(read, sizes.contextLength),
      attentionScale: read.number('query_pre_attn_scalar', 256, 1) ** -0.5,
      bias: { qkv: hasBias, output: hasBias, mlp: false },
      tieEmbeddings: read.flag('tie_word_embeddings', true),
    };
  },
  keys({ positions, layers, windows, attentionScale = 1, bias }) {
    const rope = positions.kind === 'rope' ? positions : undefined;
    return {
      attention_bias: bias.qkv,
      attn_logit_softcapping: null,
      final_logit_softcapping: null,
      hidden_activation: 'gelu_pytorch_tanh',
      hidden_act: undefined,
      query_pre_attn_scalar: Math.round(attentionScale ** -2 * 2 ** 20) / 2 ** 20,
      ...windowKeys(layers, windows),
      sliding_window: windows?.find((window) => window > 0) ?? 4096,
      rope_local_base_freq: rope?.windowTheta,
      rope_parameters: {
        full_attention: { rope_theta: rope?.theta, ...scalingKeys(rope?.scaling) },
        sliding_attention: { rope_theta: rope?.windowTheta, rope_type: 'default' },
      },
      rope_scaling: rope?.scaling ? scalingKeys(rope.scaling) : null,
    };
  },
});

function common(normEpsilon: number, hiddenSize: number): Pick<ModelConfig, 'norm' | 'mlp' | 'embeddingScale'> {
  return {
    norm: { kind: 'rmsnorm', epsilon: normEpsilon, offset: 1, placement: 'sandwich', queriesAndKeys: true },
    mlp: { kind: 'gated', activation: 'gelu-tanh' },
    embeddingScale: Math.sqrt(hiddenSize),
  };
}

/** Angles of layers without and with a window: `rope_parameters` by kind of layer, or the older keys. */
function readPositions(read: ConfigReader, length: number): ModelConfig['positions'] {
  const parameters = read.record('rope_parameters') ?? {};
  const of = (kind: string) => (parameters[kind] ?? undefined) as Readonly<Record<string, unknown>> | undefined;
  const [full, window] = [of('full_attention'), of('sliding_attention')];
  const base = (rope: typeof full, key: string, fallback: number): number => {
    const theta = rope?.['rope_theta'] ?? read.number(key, fallback, 1);
    if (typeof theta !== 'number' || !(theta >= 1)) throw read.fault('rope_parameters', 'one whose rope_theta is from 1');
    return theta;
  };
  if (readScaling(read, 'rope_parameters', window, length)) {
    throw read.fault('rope_parameters', 'of type "default" for sliding_attention: no other is supported');
  }
  const scaling =
    readScaling(read, 'rope_scaling', read.record('rope_scaling'), length) ?? readScaling(read, 'rope_parameters', full, length);
  return {
    kind: 'rope',
    theta: base(full, 'rope_theta', thetas.full),
    ...(scaling ? { scaling } : {}),
    windowTheta: base(window, 'rope_local_base_freq', thetas.window),
  };
}
