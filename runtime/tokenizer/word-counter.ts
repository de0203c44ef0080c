// Counts the words of texts that arrive in parts: what the trainer of a tokenizer learns from.
import { forEachWord } from './pre-tokenizer.ts';
import type { PreTokenizer } from './pre-tokenizer.ts';
import { CutBuffer, plainCutRules } from './safe-cut.ts';

export class WordCounter {
  readonly counts = new Map<string, number>();
  readonly #preTokenizer: PreTokenizer;
  readonly #buffer = new CutBuffer(plainCutRules);

  constructor(preTokenizer: PreTokenizer) {
    this.#preTokenizer = preTokenizer;
  }

  push(text: string): void {
    this.#count(this.#buffer.push(text));
  }

  /** Ends a text: the next one begins a new word. */
  end(): void {
    this.#count(this.#buffer.end());
  }

  #count(text: string): void {
    forEachWord(this.#preTokenizer, text.toWellFormed(), (word) => {
      const seen = this.counts.get(word);
      // A copy, because a slice would keep the whole text alive.
      if (seen === undefined) this.counts.set(Buffer.from(word).toString(), 1);
      else this.counts.set(word, seen + 1);
    });
  }
}
