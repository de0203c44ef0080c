// What must hold between the sizes of any configuration.
import { WindlassError } from '#runtime/api/errors.ts';
import type { ModelConfig } from '../config.ts';

/** Counts that a list is made for before a tensor is looked at: far above those of any model, far below what memory holds. */
export const mostLayers = 4096;
const mostExperts = 65_536;

/** A whole number from 1 to 2^31 - 1, or to `most`. */
export function isSize(value: unknown, most = 2 ** 31 - 1): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 1 && (value as number) <= most;
}

export function sizeWords(most: number | undefined): string {
  return `a whole number from 1${most === undefined ? '' : ` to ${most}`}`;
}

/** Gives `config` back, or throws WL_MODEL_INVALID naming the sizes that do not fit each other. `source` is the file or field it came from. */
export function checkConfig(config: ModelConfig, source: string): ModelConfig {
  const { hiddenSize, heads, kvHeads, headSize } = config;
  const fault = (what: string) => new WindlassError('WL_MODEL_INVALID', `${source}: ${what}`, { details: { file: source } });
  if (!Number.isInteger(headSize)) throw fault(`${heads} heads do not divide a hidden size of ${hiddenSize}`);
  if (heads % kvHeads !== 0) throw fault(`${kvHeads} key-value heads do not divide ${heads} heads`);
  if (config.positions.kind === 'rope' && headSize % 2 !== 0)
    throw fault(`rotary positions need an even head size, not ${headSize}`);
  const { experts = 1, perToken = 1 } = config.mixture ?? {};
  if (config.layers * experts > mostExperts)
    throw fault(`${config.layers} layers with ${experts} experts each are more than ${mostExperts} experts`);
  if (perToken > experts) throw fault(`a token can't go to ${perToken} of ${experts} experts`);
  if (config.windows?.some((window) => !Number.isInteger(window) || window < 0))
    throw fault('a window is a whole number of keys');
  if ((config.embeddingDropout ?? 0) >= 1) throw fault(`a dropout of ${config.embeddingDropout} leaves nothing`);
  if (config.dropout >= 1) throw fault(`a dropout of ${config.dropout} leaves nothing`);
  return config;
}
