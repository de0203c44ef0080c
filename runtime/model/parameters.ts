// The parameters of a model as plain data: names, shapes, axes, initial values, in the one order that everything follows.
import type { Initialisation, LogicalAxis, ModelConfig, ParameterSpec } from './config.ts';

/** All parameters in order; the index of one keys the random numbers of its initial values. */
export function parameterSpecs(config: ModelConfig): readonly ParameterSpec[] {
  const { vocabularySize, contextLength, hiddenSize } = config;
  const specs: ParameterSpec[] = [matrix('embedding.tokens', [vocabularySize, hiddenSize], ['vocabulary', 'hidden'], config)];
  if (config.positions.kind === 'learned') {
    const rows = contextLength + (config.positions.offset ?? 0);
    specs.push(matrix('embedding.positions', [rows, hiddenSize], ['position', 'hidden'], config));
  }
  if (config.norm.embeddings) specs.push(...normSpecs(config, 'embedding.norm'));
  for (let layer = 0; layer < config.layers; layer += 1) specs.push(...blockSpecs(config, `blocks.${layer}`));
  if (config.norm.final !== false) specs.push(...normSpecs(config, 'finalNorm'));
  if (!config.tieEmbeddings) specs.push(matrix('head', [vocabularySize, hiddenSize], ['vocabulary', 'hidden'], config));
  return specs;
}

/** Number of trained values. */
export function parameterCount(config: ModelConfig): number {
  return parameterSpecs(config).reduce((total, { shape }) => total + shape.reduce((size, dim) => size * dim, 1), 0);
}

function blockSpecs(config: ModelConfig, prefix: string): ParameterSpec[] {
  const { hiddenSize, intermediateSize, bias, norm, mixture } = config;
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
  const headNorm = (name: string) => {
    const size: Dim = { size: config.headSize, axis: 'headSize' };
    return norm.queriesAndKeys ? [vector(`${prefix}.${name}.weight`, size, config.norm.offset ? 0 : 1)] : [];
  };
  const afterNorm = (name: string) => (norm.placement === 'sandwich' ? normSpecs(config, `${prefix}.${name}`) : []);
  const toStream = residualInit(config);
  const mlp = (name: string) => [
    ...(config.mlp.kind === 'gated' ? linear(`${name}.gate`, inner, hidden, bias.mlp) : []),
    ...linear(`${name}.up`, inner, hidden, bias.mlp),
    ...linear(`${name}.down`, hidden, inner, bias.mlp, toStream),
  ];
  return [
    ...normSpecs(config, `${prefix}.attentionNorm`),
    ...linear('attention.query', heads, hidden, bias.qkv),
    ...linear('attention.key', kvHeads, hidden, bias.qkv),
    ...linear('attention.value', kvHeads, hidden, bias.qkv),
    ...headNorm('attention.queryNorm'),
    ...headNorm('attention.keyNorm'),
    ...linear('attention.output', hidden, heads, bias.output, toStream),
    ...afterNorm('attentionAfterNorm'),
    ...normSpecs(config, `${prefix}.mlpNorm`),
    ...(mixture
      ? [
          ...linear('mlp.router', { size: mixture.experts, axis: 'experts' }, hidden, false),
          ...Array.from({ length: mixture.experts }, (_, expert) => mlp(`mlp.experts.${expert}`)).flat(),
        ]
      : mlp('mlp')),
    ...afterNorm('mlpAfterNorm'),
  ];
}

type Dim = { readonly size: number; readonly axis: LogicalAxis };

/** GPT-2 scales what is added to the residual stream by 1 / sqrt(2 layers) (Radford et al. 2019, section 2.3). */
function residualInit(config: ModelConfig): Initialisation {
  const std = config.initializerRange;
  const isScaled = config.family === 'gpt2' || config.family === 'gpt3';
  return { kind: 'normal', std: isScaled ? std / Math.sqrt(2 * config.layers) : std };
}

function normSpecs(config: ModelConfig, prefix: string): ParameterSpec[] {
  const hidden: Dim = { size: config.hiddenSize, axis: 'hidden' };
  const weight = vector(`${prefix}.weight`, hidden, config.norm.offset ? 0 : 1);
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
