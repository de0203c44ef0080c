// Byte-level BPE: words cut by patterns, their bytes merged by rank.
import { WindlassError } from '#runtime/api/errors.ts';
import { byteCharacters, charactersToBytes } from './byte-alphabet.ts';
import { mergeSymbols } from './merge.ts';
import { PairTable } from './pair-table.ts';
import { buildPreTokenizer, forEachWord } from './pre-tokenizer.ts';
import type { PreTokenizer } from './pre-tokenizer.ts';
import type { PreTokenizerConfig, TokenLookUp } from './tokenizer-file.ts';
import type { SubwordModel } from './subword-model.ts';

export interface ByteLevelVocabulary extends TokenLookUp {
  /** Highest id + 1. */
  readonly size: number;
  readonly preTokenizer: PreTokenizerConfig;
  /** Whether texts are brought to NFC first. */
  readonly normalize: boolean;
  /** Whether a word that is a token is not merged. */
  readonly ignoreMerges: boolean;
  /** Left and right id and the id they merge to, by rank: three numbers each. */
  readonly merges: Int32Array;
}

/** Words of the cache at most, each of at most `maxCachedCharacters`; when full it starts over. */
const maxCachedWords = 1 << 16;
const maxCachedCharacters = 64;

export class ByteLevelModel implements SubwordModel {
  readonly size: number;
  readonly #vocabulary: ByteLevelVocabulary;
  readonly #preTokenizer: PreTokenizer;
  readonly #merges: PairTable;
  readonly #byteIds: Int32Array;
  readonly #cache = new Map<string, number | readonly number[]>();
  #symbols = new Int32Array(256);
  #utf8 = new Uint8Array(256);

  /** Throws WL_TOKENIZER_INVALID where bytes lack a token, or the way that text is cut is not supported. */
  constructor(vocabulary: ByteLevelVocabulary) {
    this.#vocabulary = vocabulary;
    this.size = vocabulary.size;
    this.#preTokenizer = buildPreTokenizer(vocabulary.preTokenizer);
    this.#byteIds = byteTokenIds(vocabulary);
    const { merges } = vocabulary;
    this.#merges = new PairTable(merges.length / 3);
    for (let i = 0; i < merges.length; i += 3) this.#merges.set(merges[i]!, merges[i + 1]!, i / 3, merges[i + 2]!);
  }

  encode(text: string, _: boolean, ids: number[]): void {
    forEachWord(this.#preTokenizer, text, (word) => this.#appendWord(word, ids));
  }

  normalize(text: string): string {
    return this.#vocabulary.normalize ? text.normalize('NFC') : text;
  }

  token(id: number): Uint8Array | undefined {
    const token = this.#vocabulary.textOf(id);
    return token === undefined ? undefined : (charactersToBytes(token) ?? Buffer.from(token));
  }

  tokenId(text: string): number | undefined {
    return this.#vocabulary.idOf(toCharacters(text));
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
    if (this.#vocabulary.ignoreMerges) {
      const whole = this.#vocabulary.idOf(toCharacters(word));
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

/**
 * The id of each byte, -1 for those without a token. Published vocabularies lack some control characters and bytes of planes that hold no
 * characters; the reference drops them from a text. Throws WL_TOKENIZER_INVALID if any other byte lacks, so that nothing else is ever dropped.
 */
function byteTokenIds({ idOf }: TokenLookUp): Int32Array {
  const ids = Int32Array.from(byteCharacters, (character) => idOf(character) ?? -1);
  const isControl = (byte: number): boolean => (byte < 0x20 && byte !== 0x09 && byte !== 0x0a && byte !== 0x0d) || byte === 0x7f;
  const isNeeded = (byte: number): boolean => !isControl(byte) && byte !== 0xc0 && byte !== 0xc1 && byte <= 0xf0;
  const missing = Array.from(ids.keys()).filter((byte) => isNeeded(byte) && ids[byte] === -1);
  if (missing.length === 0) return ids;
  const [first = 0] = missing;
  throw new WindlassError(
    'WL_TOKENIZER_INVALID',
    `tokenizer.json: the vocabulary lacks ${missing.length} of the bytes of UTF-8, the first is 0x${first.toString(16)}`,
  );
}
