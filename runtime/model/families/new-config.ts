// What the configurations of new models of all families have in common.
import { WindlassError } from '#runtime/api/errors.ts';
import type { ModelConfig, ModelFamily, ModelSize, ModelSurroundings } from '../config.ts';

/** Settings of a job that some families have and others don't. */
type Setting = 'kvHeads' | 'headSize' | 'ropeTheta' | 'window' | 'experts' | 'expertsPerToken';
const settings: readonly Setting[] = ['kvHeads', 'headSize', 'ropeTheta', 'window', 'experts', 'expertsPerToken'];

type Sizes = Omit<ModelConfig, 'family' | 'intermediateSize' | 'norm' | 'positions' | 'mlp' | 'bias'>;

/** The sizes that a job gives or leaves out. Throws WL_MODEL_INVALID where it gives a setting that `family` has not. */
export function newSizes(
  family: ModelFamily,
  size: ModelSize,
  surroundings: ModelSurroundings,
  allowed: readonly Setting[] = [],
): Sizes {
  for (const setting of settings) {
    const isHarmless = setting === 'kvHeads' && size.kvHeads === size.heads;
    if (size[setting] !== undefined && !allowed.includes(setting) && !isHarmless) throw notOfFamily(family, setting);
  }
  return {
    vocabularySize: surroundings.vocabularySize,
    contextLength: size.contextLength ?? surroundings.trainingLength,
    hiddenSize: size.hiddenSize,
    layers: size.layers,
    heads: size.heads,
    kvHeads: size.kvHeads ?? size.heads,
    headSize: size.headSize ?? size.hiddenSize / size.heads,
    tieEmbeddings: size.tieEmbeddings ?? true,
    dropout: size.dropout ?? 0,
    initializerRange: 0.02,
    ...(surroundings.bosTokenId === undefined ? {} : { bosTokenId: surroundings.bosTokenId }),
    eosTokenIds: surroundings.eosTokenIds ?? [],
  };
}

export function notOfFamily(family: ModelFamily, field: string): WindlassError {
  return new WindlassError('WL_MODEL_INVALID', `model.config.${field} is not a setting of family ${family}`, {
    details: { path: `model.config.${field}` },
  });
}

export function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}
