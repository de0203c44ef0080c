// The families there are, and the choice among them.
import { WindlassError } from '#runtime/api/errors.ts';
import type { ModelConfig, ModelFamily, ModelSize, ModelSurroundings } from '../config.ts';
import { bloom } from './bloom.ts';
import type { Family } from './family.ts';
import { gemma3 } from './gemma3.ts';
import { gpt1 } from './gpt1.ts';
import { gpt2 } from './gpt2.ts';
import { gpt3 } from './gpt3.ts';
import { llama } from './llama.ts';
import { mistral } from './mistral.ts';
import { mixtral } from './mixtral.ts';
import { opt } from './opt.ts';
import { qwen2, qwen3 } from './qwen.ts';

const families: Readonly<Record<ModelFamily, Family>> = {
  gpt1,
  gpt2,
  gpt3,
  opt,
  bloom,
  llama,
  qwen2,
  qwen3,
  mistral,
  mixtral,
  gemma3,
};

const byModelType = new Map(Object.values(families).map((family) => [family.modelType, family]));

export function familyOf(config: ModelConfig): Family {
  return families[config.family];
}

/** The configuration of a new model of `family`. Throws WL_MODEL_INVALID. */
export function newModelConfig(family: ModelFamily, size: ModelSize, surroundings: ModelSurroundings): ModelConfig {
  return families[family].newConfig(size, surroundings);
}

/** Reads the values of a config.json. Throws WL_MODEL_INVALID naming the key that is malformed or not supported. */
export function parseHuggingFaceConfig(json: unknown, file: string): ModelConfig {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw new WindlassError('WL_MODEL_INVALID', `${file}: it is not a JSON object`, { details: { file } });
  }
  const values = json as Readonly<Record<string, unknown>>;
  const type = values['model_type'];
  const family = typeof type === 'string' ? byModelType.get(type) : undefined;
  if (family) return family.fromHuggingFace(values, file);
  const known = [...byModelType.keys()].join(', ');
  throw new WindlassError(
    'WL_MODEL_INVALID',
    `${file}: model_type is ${JSON.stringify(type) ?? 'absent'} but must be one of ${known}`,
    { details: { file, path: 'model_type' } },
  );
}

/** The values of config.json, keys sorted. */
export function huggingFaceConfig(config: ModelConfig): Record<string, unknown> {
  const family = familyOf(config);
  const values = {
    ...family.toHuggingFace(config),
    ...tokenIdKeys(config),
    architectures: [family.architecture],
    model_type: family.modelType,
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
