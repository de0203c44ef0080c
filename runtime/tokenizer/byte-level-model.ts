// Byte-level BPE: words cut by patterns, their bytes merged by rank.
import { byteCharacters, charactersToBytes } from './byte-alphabet.ts';
import { mergeSymbols } from './merge.ts';
import { PairTable } from './pair-table.ts';
import { buildPreTokenizer, forEachWord } from './pre-tokenizer.ts';
import type { PreTokenizer } from './pre-tokenizer.ts';
import { byteTokenIds } from './tokenizer-file.ts';
import type { TokenizerFile } from './tokenizer-file.ts';
import type { SubwordModel } from './subword-model.ts';

/** Words of the cache at most, each of at most `maxCachedCharacters`; when full it starts over. */
const maxCachedWords = 1 << 16;
const maxCachedCharacters = 64;

export class ByteLevelModel implements SubwordModel {
  readonly size: number;
  readonly #file: TokenizerFile;
  readonly #preTokenizer: PreTokenizer;
  readonly #merges = new PairTable();
  readonly #byteIds: Int32Array;
  readonly #cache = new Map<string, number | readonly number[]>();
  #symbols = new Int32Array(256);
  #utf8 = new Uint8Array(256);

  constructor(file: TokenizerFile) {
    this.#file = file;
    this.size = file.vocabulary.length;
    this.#preTokenizer = buildPreTokenizer(file.preTokenizer);
    this.#byteIds = byteTokenIds(file);
    const { merges } = file;
    for (let i = 0; i < merges.length; i += 3) this.#merges.set(merges[i]!, merges[i + 1]!, i / 3, merges[i + 2]!);
  }

  encode(text: string, _: boolean, ids: number[]): void {
    forEachWord(this.#preTokenizer, text, (word) => this.#appendWord(word, ids));
  }

  normalize(text: string): string {
    return this.#file.normalize ? text.normalize('NFC') : text;
  }

  token(id: number): Uint8Array | undefined {
    const token = this.#file.vocabulary[id];
    return token === undefined ? undefined : (charactersToBytes(token) ?? Buffer.from(token));
  }

  tokenId(text: string): number | undefined {
    return this.#file.tokenIds.get(toCharacters(text));
  }

  #appendWord(word: string, ids: number[]): void {
    const cached = this.#cache.get(word);
    if (typeof cached === 'number') {
      ids.push(cached);
      return;
    }
    if (cached) {
      for (let i = 0; i < cached.length; i++) ids.push(cached[i]!);
      return;
    }
    const symbols = this.#encodeWord(word);
    for (let i = 0; i < symbols.length; i++) ids.push(symbols[i]!);
    if (word.length > maxCachedCharacters) return;
    if (this.#cache.size >= maxCachedWords) this.#cache.clear();
    // A copy, because a slice would keep the whole text alive.
    this.#cache.set(Buffer.from(word).toString(), symbols.length === 1 ? symbols[0]! : Array.from(symbols));
  }

  /** Ids of one word, in a view that the next call overwrites. */
  #encodeWord(word: string): Int32Array {
    if (this.#utf8.length < 3 * word.length) {
      this.#utf8 = new Uint8Array(3 * word.length);
      this.#symbols = new Int32Array(3 * word.length);
    }
    const { written } = new TextEncoder().encodeInto(word, this.#utf8);
    const symbols = this.#symbols;
    if (this.#file.ignoreMerges) {
      const whole = this.#file.tokenIds.get(toCharacters(word));
      if (whole !== undefined) {
        symbols[0] = whole;
        return symbols.subarray(0, 1);
      }
    }
    let length = 0;
    for (let i = 0; i < written; i++) {
      const id = this.#byteIds[this.#utf8[i]!]!;
      if (id !== -1) symbols[length++] = id;
    }
    return symbols.subarray(0, mergeSymbols(symbols, length, this.#merges));
  }
}

function toCharacters(text: string): string {
  let characters = '';
  for (const byte of Buffer.from(text)) characters += byteCharacters[byte];
  return characters;
}
