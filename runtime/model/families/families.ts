// The families there are, and the choice among them.
import { WindlassError } from '#runtime/api/errors.ts';
import type { ModelConfig, ModelSize, ModelSurroundings } from '../config.ts';
import type { Family } from './family.ts';
import { gpt2 } from './gpt2.ts';
import { llama } from './llama.ts';

const families: Readonly<Record<ModelConfig['family'], Family>> = { gpt2, llama };

export function familyOf(config: ModelConfig): Family {
  return families[config.family];
}

/** The configuration of a new model of `family`. Throws WL_MODEL_INVALID. */
export function newModelConfig(family: ModelConfig['family'], size: ModelSize, surroundings: ModelSurroundings): ModelConfig {
  return families[family].newConfig(size, surroundings);
}

/** Reads the values of a config.json. Throws WL_MODEL_INVALID naming the key that is malformed or not supported. */
export function parseHuggingFaceConfig(json: unknown, file: string): ModelConfig {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw new WindlassError('WL_MODEL_INVALID', `${file}: it is not a JSON object`, { details: { file } });
  }
  const values = json as Readonly<Record<string, unknown>>;
  const type = values['model_type'];
  if (typeof type !== 'string' || !Object.hasOwn(families, type)) {
    const known = Object.keys(families).join(' or ');
    throw new WindlassError(
      'WL_MODEL_INVALID',
      `${file}: model_type is ${JSON.stringify(type) ?? 'absent'} but must be ${known}`,
      {
        details: { file, path: 'model_type' },
      },
    );
  }
  return families[type as ModelConfig['family']].fromHuggingFace(values, file);
}

/** The values of config.json, keys sorted. */
export function huggingFaceConfig(config: ModelConfig): Record<string, unknown> {
  const family = familyOf(config);
  const values = {
    ...family.toHuggingFace(config),
    ...tokenIdKeys(config),
    architectures: [family.architecture],
    model_type: family.name,
    torch_dtype: 'float32',
    use_cache: true,
    vocab_size: config.vocabularySize,
  };
  return Object.fromEntries(Object.entries(values).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** `bos_token_id` and `eos_token_id` as config.json and generation_config.json have them; null where there is none. */
export function tokenIdKeys(config: ModelConfig): Record<string, unknown> {
  const [first = null, ...others] = config.eosTokenIds;
  return { bos_token_id: config.bosTokenId ?? null, eos_token_id: others.length === 0 ? first : config.eosTokenIds };
}
