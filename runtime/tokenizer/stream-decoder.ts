// Turns a stream of token ids into text that is always whole characters, for sending token by token.
import type { Tokenizer } from './tokenizer.ts';

/** Holds back the bytes of an unfinished UTF-8 sequence until the next token completes it. */
export class StreamDecoder {
  readonly #tokenizer: Tokenizer;
  readonly #skipSpecial: boolean;
  // The beginning of a stream may be a byte order mark: it is text here.
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true });

  constructor(tokenizer: Tokenizer, options: { readonly skipSpecial?: boolean } = {}) {
    this.#tokenizer = tokenizer;
    this.#skipSpecial = options.skipSpecial ?? true;
  }

  /** Text that is complete after this token; may be empty. */
  push(id: number): string {
    if (this.#skipSpecial && this.#tokenizer.isSpecial(id)) return '';
    return this.#decoder.decode(this.#tokenizer.token(id), { stream: true });
  }

  /** What was held back, as U+FFFD; the decoder can be used again after. */
  flush(): string {
    return this.#decoder.decode();
  }
}
