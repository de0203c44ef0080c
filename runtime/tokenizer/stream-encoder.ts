// Encodes a text that arrives in parts, with the ids that the whole text would have.
import { CutBuffer, cutRulesOf } from './safe-cut.ts';
import type { EncodeOptions, Tokenizer } from './tokenizer.ts';

/** Holds back the end of the text until it is known where its last word ends. Adds no special tokens around the text. */
export class StreamEncoder {
  readonly #tokenizer: Tokenizer;
  readonly #buffer: CutBuffer;
  readonly #options: EncodeOptions;

  constructor(tokenizer: Tokenizer, options: Pick<EncodeOptions, 'specialTokensInText'> = {}) {
    this.#tokenizer = tokenizer;
    this.#buffer = new CutBuffer(cutRulesOf(tokenizer.file));
    this.#options = { ...options, addSpecialTokens: false };
  }

  /** Ids of the words that are known to be complete. Parts may be cut anywhere. */
  push(text: string): number[] {
    return this.#tokenizer.encode(this.#buffer.push(text), this.#options);
  }

  /** Ids of what was held back; the encoder begins a new text after. */
  end(): number[] {
    return this.#tokenizer.encode(this.#buffer.end(), this.#options);
  }
}
