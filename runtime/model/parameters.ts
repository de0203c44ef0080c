// The parameters of a model as plain data: names, shapes, axes, initial values, in the one order that everything follows.
import type { Initialisation, LogicalAxis, ModelConfig, ParameterSpec } from './config.ts';

/** All parameters in order; the index of one keys the random numbers of its initial values. */
export function parameterSpecs(config: ModelConfig): readonly ParameterSpec[] {
  const { vocabularySize, contextLength, hiddenSize } = config;
  const specs: ParameterSpec[] = [matrix('embedding.tokens', [vocabularySize, hiddenSize], ['vocabulary', 'hidden'], config)];
  if (config.positions.kind === 'learned') {
    specs.push(matrix('embedding.positions', [contextLength, hiddenSize], ['position', 'hidden'], config));
  }
  for (let layer = 0; layer < config.layers; layer += 1) specs.push(...blockSpecs(config, `blocks.${layer}`));
  specs.push(...normSpecs(config, 'finalNorm'));
  if (!config.tieEmbeddings) specs.push(matrix('head', [vocabularySize, hiddenSize], ['vocabulary', 'hidden'], config));
  return specs;
}

/** Number of trained values. */
export function parameterCount(config: ModelConfig): number {
  return parameterSpecs(config).reduce((total, { shape }) => total + shape.reduce((size, dim) => size * dim, 1), 0);
}

function blockSpecs(config: ModelConfig, prefix: string): ParameterSpec[] {
  const { hiddenSize, intermediateSize, bias } = config;
  const queries = config.heads * config.headSize;
  const keys = config.kvHeads * config.headSize;
  const linear = (name: string, out: Dim, from: Dim, hasBias: boolean, init?: Initialisation) => [
    matrix(`${prefix}.${name}.weight`, [out.size, from.size], [out.axis, from.axis], config, init),
    ...(hasBias ? [vector(`${prefix}.${name}.bias`, out, 0)] : []),
  ];
  const hidden: Dim = { size: hiddenSize, axis: 'hidden' };
  const inner: Dim = { size: intermediateSize, axis: 'intermediate' };
  const heads: Dim = { size: queries, axis: 'heads' };
  const kvHeads: Dim = { size: keys, axis: 'kvHeads' };
  const toStream = residualInit(config);
  return [
    ...normSpecs(config, `${prefix}.attentionNorm`),
    ...linear('attention.query', heads, hidden, bias.qkv),
    ...linear('attention.key', kvHeads, hidden, bias.qkv),
    ...linear('attention.value', kvHeads, hidden, bias.qkv),
    ...linear('attention.output', hidden, heads, bias.output, toStream),
    ...normSpecs(config, `${prefix}.mlpNorm`),
    ...(config.mlp.kind === 'gated' ? linear('mlp.gate', inner, hidden, bias.mlp) : []),
    ...linear('mlp.up', inner, hidden, bias.mlp),
    ...linear('mlp.down', hidden, inner, bias.mlp, toStream),
  ];
}

type Dim = { readonly size: number; readonly axis: LogicalAxis };

/** GPT-2 scales what is added to the residual stream by 1 / sqrt(2 layers) (Radford et al. 2019, section 2.3). */
function residualInit(config: ModelConfig): Initialisation {
  const std = config.initializerRange;
  return { kind: 'normal', std: config.family === 'gpt2' ? std / Math.sqrt(2 * config.layers) : std };
}

function normSpecs(config: ModelConfig, prefix: string): ParameterSpec[] {
  const hidden: Dim = { size: config.hiddenSize, axis: 'hidden' };
  const weight = vector(`${prefix}.weight`, hidden, 1);
  return config.norm.kind === 'layernorm' ? [weight, vector(`${prefix}.bias`, hidden, 0)] : [weight];
}

function matrix(
  name: string,
  shape: readonly number[],
  axes: readonly LogicalAxis[],
  config: ModelConfig,
  init: Initialisation = { kind: 'normal', std: config.initializerRange },
): ParameterSpec {
  return { name, shape, axes, init, decay: true };
}

function vector(name: string, dim: Dim, value: 0 | 1): ParameterSpec {
  return { name, shape: [dim.size], axes: [dim.axis], init: { kind: 'constant', value }, decay: false };
}
