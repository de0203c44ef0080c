// What must hold between the sizes of any configuration.
import { WindlassError } from '#runtime/api/errors.ts';
import type { ModelConfig } from '../config.ts';

/** Gives `config` back, or throws WL_MODEL_INVALID naming the sizes that do not fit each other. `source` is the file or field it came from. */
export function checkConfig(config: ModelConfig, source: string): ModelConfig {
  const { hiddenSize, heads, kvHeads, headSize } = config;
  const fault = (what: string) => new WindlassError('WL_MODEL_INVALID', `${source}: ${what}`, { details: { file: source } });
  if (!Number.isInteger(headSize)) throw fault(`${heads} heads do not divide a hidden size of ${hiddenSize}`);
  if (heads % kvHeads !== 0) throw fault(`${kvHeads} key-value heads do not divide ${heads} heads`);
  if (config.positions.kind === 'rope' && headSize % 2 !== 0)
    throw fault(`rotary positions need an even head size, not ${headSize}`);
  const { experts = 1, perToken = 1 } = config.mixture ?? {};
  if (perToken > experts) throw fault(`a token can't go to ${perToken} of ${experts} experts`);
  if (config.windows?.some((window) => !Number.isInteger(window) || window < 0))
    throw fault('a window is a whole number of keys');
  if ((config.embeddingDropout ?? 0) >= 1) throw fault(`a dropout of ${config.embeddingDropout} leaves nothing`);
  if (config.dropout >= 1) throw fault(`a dropout of ${config.dropout} leaves nothing`);
  return config;
}
