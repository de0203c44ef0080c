// What the engine needs to know of a tokenizer.
import type { ModelConfig } from '#runtime/model/main.ts';
import type { Tokenizer } from '#runtime/tokenizer/main.ts';
import type { Vocabulary } from './generation.ts';

const noBytes = new Uint8Array(0);

/** Special tokens have no text. The text ends at the tokens that the model's files or its tokenizer name. */
export function vocabularyOf(tokenizer: Tokenizer, config: Pick<ModelConfig, 'vocabularySize' | 'eosTokenIds'>): Vocabulary {
  return {
    size: config.vocabularySize,
    tokenBytes: (id) => (tokenizer.isSpecial(id) ? noBytes : tokenizer.token(id)),
    endOfText: new Set([...config.eosTokenIds, ...(tokenizer.eos === undefined ? [] : [tokenizer.eos])]),
  };
}
