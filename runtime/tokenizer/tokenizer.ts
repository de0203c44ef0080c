// Byte-level BPE tokenizer: text to token ids and back, equal to the reference implementation of tokenizer.json.
import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { WindlassError } from '#runtime/api/errors.ts';
import { AddedTokenMatcher } from './added-tokens.ts';
import { byteCharacters, charactersToBytes } from './byte-alphabet.ts';
import { mergeSymbols } from './merge.ts';
import { PairTable } from './pair-table.ts';
import { buildPreTokenizer, forEachWord } from './pre-tokenizer.ts';
import type { PreTokenizer } from './pre-tokenizer.ts';
import { byteTokenIds, formatTokenizerFile, maxTokenizerFileBytes, parseTokenizerFile } from './tokenizer-file.ts';
import type { AddedTokenEntry, TokenizerFile } from './tokenizer-file.ts';
import { readTokenizerConfig } from './tokenizer-config.ts';
import type { TokenizerConfig } from './tokenizer-config.ts';

export interface EncodeOptions {
  /** Add what the template puts around a text, such as the begin-of-text token. Default true. */
  readonly addSpecialTokens?: boolean;
  /** Turn special tokens that are spelled out in the text into their id (as the reference does) or treat them as plain text. Default 'parse'. */
  readonly specialTokensInText?: 'parse' | 'plain';
}

/** Words of the cache at most, each of at most `maxCachedCharacters`; when full it starts over. */
const maxCachedWords = 1 << 16;
const maxCachedCharacters = 64;
const noBytes = new Uint8Array(0);

export class Tokenizer {
  readonly config: TokenizerConfig;
  /** Size of the embedding that the ids need: the highest id + 1. */
  readonly vocabularySize: number;
  readonly bos: number | undefined;
  readonly eos: number | undefined;
  readonly pad: number | undefined;
  readonly #file: TokenizerFile;
  readonly #preTokenizer: PreTokenizer;
  readonly #merges = new PairTable();
  readonly #byteIds: Int32Array;
  readonly #added = new Map<number, AddedTokenEntry>();
  readonly #rawTokens: AddedTokenMatcher;
  readonly #normalizedTokens: AddedTokenMatcher;
  readonly #bytes: (Uint8Array | undefined)[] = [];
  readonly #cache = new Map<string, number | readonly number[]>();
  #symbols = new Int32Array(256);
  #utf8 = new Uint8Array(256);
  #json: string | undefined;
  #digest: string | undefined;

  private constructor(file: TokenizerFile, config: TokenizerConfig) {
    this.#file = file;
    this.config = config;
    this.#preTokenizer = buildPreTokenizer(file.preTokenizer);
    this.#byteIds = byteTokenIds(file);
    const { merges } = file;
    for (let i = 0; i < merges.length; i += 3) this.#merges.set(merges[i]!, merges[i + 1]!, i / 3, merges[i + 2]!);
    for (const token of file.addedTokens) this.#added.set(token.id, token);
    // Of a map and not of the vocabulary's length: added tokens may have higher ids.
    this.vocabularySize = Math.max(file.vocabulary.length, ...file.addedTokens.map(({ id }) => id + 1));
    this.#rawTokens = new AddedTokenMatcher(file.addedTokens.filter((token) => !token.normalized));
    this.#normalizedTokens = new AddedTokenMatcher(
      file.addedTokens.filter((token) => token.normalized),
      (text) => this.#normalize(text),
    );
    this.bos = this.#specialId(config.bosToken, ['<|begin_of_text|>', '<s>', '<|endoftext|>']);
    this.eos = this.#specialId(config.eosToken, ['<|endoftext|>', '<|end_of_text|>', '</s>']);
    this.pad = this.#specialId(config.padToken, []);
  }

  /** Reads the text of a tokenizer.json. Throws WL_TOKENIZER_INVALID naming what is malformed or not supported. */
  static fromJson(text: string, config: TokenizerConfig = {}): Tokenizer {
    return new Tokenizer(parseTokenizerFile(text), config);
  }

  /** Reads tokenizer.json of a model folder, and tokenizer_config.json and chat_template.jinja where they exist. */
  static async fromFolder(folder: string): Promise<Tokenizer> {
    const path = join(folder, 'tokenizer.json');
    try {
      const { size } = await stat(path);
      if (size > maxTokenizerFileBytes) {
        throw new WindlassError('WL_TOKENIZER_INVALID', `${path}: ${size} bytes, more than ${maxTokenizerFileBytes}`, {
          details: { path },
        });
      }
      return Tokenizer.fromJson(await readFile(path, 'utf8'), await readTokenizerConfig(folder));
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') {
        throw new WindlassError('WL_FILE_MISSING', `${path} does not exist`, { cause: error, details: { path } });
      }
      throw error;
    }
  }

  /** The tokenizer.json of this tokenizer, in the layout of the reference implementation; equal tokenizers give equal bytes. */
  toJson(): string {
    return (this.#json ??= formatTokenizerFile(this.#file));
  }

  /** sha256 of `toJson()`, in hexadecimal. */
  get digest(): string {
    return (this.#digest ??= createHash('sha256').update(this.toJson()).digest('hex'));
  }

  /** Ids of a text. Lone surrogates count as U+FFFD, as in UTF-8. */
  encode(text: string, options: EncodeOptions = {}): number[] {
    const ids: number[] = options.addSpecialTokens === false ? [] : [...this.#file.prefixIds];
    const plain = options.specialTokensInText === 'plain';
    const wanted = plain ? (token: AddedTokenEntry) => !token.special : undefined;
    const visit = (word: string): void => this.#appendWord(word, ids);
    for (const piece of this.#rawTokens.split(text.toWellFormed(), wanted)) {
      if (typeof piece === 'number') {
        ids.push(piece);
        continue;
      }
      for (const part of this.#normalizedTokens.split(this.#normalize(piece), wanted)) {
        if (typeof part === 'number') ids.push(part);
        else forEachWord(this.#preTokenizer, part, visit);
      }
    }
    if (options.addSpecialTokens !== false) ids.push(...this.#file.suffixIds);
    return ids;
  }

  /** Text of ids; bytes that are no UTF-8 become U+FFFD. Ids that are no token are left out. */
  decode(ids: Iterable<number>, options: { readonly skipSpecial?: boolean } = {}): string {
    const parts: Uint8Array[] = [];
    for (const id of ids) {
      if (options.skipSpecial && this.isSpecial(id)) continue;
      parts.push(this.token(id));
    }
    return Buffer.concat(parts).toString('utf8');
  }

  /** Bytes of a token; none for an id that is no token. */
  token(id: number): Uint8Array {
    const known = this.#bytes[id];
    if (known) return known;
    const added = this.#added.get(id);
    const token = this.#file.vocabulary[id];
    const bytes = added
      ? Buffer.from(added.content)
      : token === undefined
        ? noBytes
        : (charactersToBytes(token) ?? Buffer.from(token));
    if (id >= 0 && id < this.vocabularySize) this.#bytes[id] = bytes;
    return bytes;
  }

  /** Id of a token given as its text; undefined if there is none. */
  tokenId(text: string): number | undefined {
    for (const token of this.#added.values()) if (token.content === text) return token.id;
    return this.#file.tokenIds.get(toCharacters(text));
  }

  isSpecial(id: number): boolean {
    return this.#added.get(id)?.special ?? false;
  }

  /** The parts of tokenizer.json, for the streaming encoder and trainer of this room. */
  get file(): TokenizerFile {
    return this.#file;
  }

  #normalize(text: string): string {
    return this.#file.normalize ? text.normalize('NFC') : text;
  }

  #specialId(named: string | undefined, usual: readonly string[]): number | undefined {
    for (const content of named === undefined ? usual : [named]) {
      const token = this.#file.addedTokens.find((token) => token.content === content);
      if (token) return token.id;
    }
    return undefined;
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
    for (let i = 0; i < written; i++) symbols[i] = this.#byteIds[this.#utf8[i]!]!;
    return symbols.subarray(0, mergeSymbols(symbols, written, this.#merges));
  }
}

function toCharacters(text: string): string {
  let characters = '';
  for (const byte of Buffer.from(text)) characters += byteCharacters[byte];
  return characters;
}
