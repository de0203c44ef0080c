// Floating-point operations of training, to compare speed with what the machine could do.
import { parameterSpecs } from '#runtime/model/main.ts';
import type { ModelConfig } from '#runtime/model/main.ts';

/**
 * Operations per token of a training step: 6 per matrix weight (forward, input gradient, weight gradient; the head counts, lookups don't, and
 * of experts those that a token goes to)
 * and 6 T d per layer for causal attention. The convention of "model FLOPs": recomputation does not count.
 */
export function flopsPerToken(config: ModelConfig, length: number): number {
  const isLookup = (axes: readonly string[]) => axes.includes('vocabulary') || axes.includes('position');
  const matrices = parameterSpecs(config).filter(({ shape, axes }) => shape.length === 2 && !isLookup(axes));
  const { perToken = 1, experts = 1 } = config.mixture ?? {};
  const share = (name: string) => (name.includes('.mlp.experts.') ? perToken / experts : 1);
  const weights =
    matrices.reduce((sum, { name, shape }) => sum + share(name) * shape[0]! * shape[1]!, 0) +
    config.vocabularySize * config.hiddenSize;
  return 6 * weights + 6 * length * config.heads * config.headSize * config.layers;
}
