// The units that a model is cut into: embedding, each block, head. A unit's parameters lie in one flat buffer; stages are runs of units.
import type { ModelConfig, ParameterSpec } from '#runtime/model/config.ts';
import { parameterSpecs } from '#runtime/model/parameters.ts';

export interface Unit {
  readonly kind: 'embedding' | 'block' | 'head';
  /** `embedding`, `blocks.3`, `head`. */
  readonly name: string;
  /** In the order of `parameterSpecs`. The head is the final norm and, unless it is tied, the head itself. */
  readonly parameters: readonly ParameterSpec[];
}

/** Layer of a block. */
export function layerOf({ name }: Unit): number {
  return Number(name.slice(name.indexOf('.') + 1));
}

/** All units of a model in the order of the forward pass: as many as it has layers, and two. */
export function unitsOf(config: ModelConfig): Unit[] {
  const specs = parameterSpecs(config);
  const prefixed = (prefix: string) => specs.filter(({ name }) => name.startsWith(`${prefix}.`));
  return [
    { kind: 'embedding', name: 'embedding', parameters: prefixed('embedding') },
    ...Array.from({ length: config.layers }, (_, layer): Unit => {
      const name = `blocks.${layer}`;
      return { kind: 'block', name, parameters: prefixed(name) };
    }),
    { kind: 'head', name: 'head', parameters: specs.filter(({ name }) => name === 'head' || name.startsWith('finalNorm.')) },
  ];
}

/**
 * Floating-point operations per token of a unit in one training step, as `flopsPerToken` of runtime/train counts them: 6 for each value of
 * a matrix that a token meets and 6 T d for causal attention. The head counts whether it is tied or not; lookups are free.
 */
export function unitCost(config: ModelConfig, length: number, kind: Unit['kind']): number {
  const { hiddenSize, heads, kvHeads, headSize, intermediateSize } = config;
  if (kind === 'embedding') return 0;
  if (kind === 'head') return 6 * config.vocabularySize * hiddenSize;
  const attention = hiddenSize * headSize * (2 * heads + 2 * kvHeads);
  const mlp = (config.mlp.kind === 'gated' ? 3 : 2) * hiddenSize * intermediateSize;
  const { perToken = 1, experts = 0 } = config.mixture ?? {};
  return 6 * (attention + perToken * mlp + experts * hiddenSize) + 6 * length * heads * headSize;
}
