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
  if (config.dropout >= 1) throw fault(`a dropout of ${config.dropout} leaves nothing`);
  return config;
}
