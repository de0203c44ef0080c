// A tokenizer: text to token ids and back, equal to the reference implementation of its kind.
import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { WindlassError } from '#runtime/api/errors.ts';
import { AddedTokenMatcher } from './added-tokens.ts';
import { ByteLevelModel } from './byte-level-model.ts';
import { formatTokenizerFile, maxTokenizerFileBytes, parseTokenizerFile } from './tokenizer-file.ts';
import type { AddedTokenEntry, TokenizerFile } from './tokenizer-file.ts';
import { readTokenizerConfig } from './tokenizer-config.ts';
import type { TokenizerConfig } from './tokenizer-config.ts';
import type { SubwordModel } from './subword-model.ts';

export interface EncodeOptions {
  /** Add what the template puts around a text, such as the begin-of-text token. Default true. */
  readonly addSpecialTokens?: boolean;
  /** Turn special tokens that are spelled out in the text into their id (as the reference does) or treat them as plain text. Default 'parse'. */
  readonly specialTokensInText?: 'parse' | 'plain';
}

/** What a tokenizer is made of. */
export interface TokenizerParts {
  readonly model: SubwordModel;
  readonly addedTokens: readonly AddedTokenEntry[];
  /** Ids that the template puts before and after a text. */
  readonly prefixIds: readonly number[];
  readonly suffixIds: readonly number[];
  /** The tokenizer as tokenizer.json; absent where it can't be written as one. */
  readonly file?: () => TokenizerFile;
}

const noBytes = new Uint8Array(0);

export class Tokenizer {
  readonly config: TokenizerConfig;
  /** Size of the embedding that the ids need: the highest id + 1. */
  readonly vocabularySize: number;
  readonly bos: number | undefined;
  readonly eos: number | undefined;
  readonly pad: number | undefined;
  readonly #parts: TokenizerParts;
  readonly #model: SubwordModel;
  readonly #added = new Map<number, AddedTokenEntry>();
  readonly #rawTokens: AddedTokenMatcher;
  readonly #normalizedTokens: AddedTokenMatcher;
  readonly #bytes: (Uint8Array | undefined)[] = [];
  #json: string | undefined;
  #digest: string | undefined;

  constructor(parts: TokenizerParts, config: TokenizerConfig) {
    const { model, addedTokens } = parts;
    this.#parts = parts;
    this.#model = model;
    this.config = config;
    for (const token of addedTokens) this.#added.set(token.id, token);
    // Added tokens may have higher ids than those of the model.
    this.vocabularySize = addedTokens.reduce((size, { id }) => Math.max(size, id + 1), model.size);
    this.#rawTokens = new AddedTokenMatcher(addedTokens.filter((token) => !token.normalized));
    this.#normalizedTokens = new AddedTokenMatcher(
      addedTokens.filter((token) => token.normalized),
      (text) => model.normalize(text),
    );
    this.bos = this.#specialId(config.bosToken, ['<|begin_of_text|>', '<s>', '<|endoftext|>']);
    this.eos = this.#specialId(config.eosToken, ['<|endoftext|>', '<|end_of_text|>', '</s>']);
    this.pad = this.#specialId(config.padToken, []);
  }

  /** Reads the text of a tokenizer.json. Throws WL_TOKENIZER_INVALID naming what is malformed or not supported. */
  static fromJson(text: string, config: TokenizerConfig = {}): Tokenizer {
    return Tokenizer.fromFile(parseTokenizerFile(text), config);
  }

  /** A tokenizer of the checked parts of a tokenizer.json. */
  static fromFile(file: TokenizerFile, config: TokenizerConfig = {}): Tokenizer {
    const model = new ByteLevelModel({
      ...file,
      size: file.vocabulary.length,
      textOf: (id) => file.vocabulary[id],
      idOf: (text) => file.tokenIds.get(text),
    });
    return new Tokenizer({ ...file, model, file: () => file }, config);
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
    return (this.#json ??= formatTokenizerFile(this.file));
  }

  /** sha256 of `toJson()`, in hexadecimal. */
  get digest(): string {
    return (this.#digest ??= createHash('sha256').update(this.toJson()).digest('hex'));
  }

  /** Ids of a text. Lone surrogates count as U+FFFD, as in UTF-8. */
  encode(text: string, options: EncodeOptions = {}): number[] {
    const { prefixIds, suffixIds } = this.#parts;
    const model = this.#model;
    const ids: number[] = options.addSpecialTokens === false ? [] : [...prefixIds];
    const plain = options.specialTokensInText === 'plain';
    const wanted = plain ? (token: AddedTokenEntry) => !token.special : undefined;
    let isFirst = true;
    for (const piece of this.#rawTokens.split(text.toWellFormed(), wanted)) {
      for (const part of typeof piece === 'number' ? [piece] : this.#normalizedTokens.split(model.normalize(piece), wanted)) {
        if (typeof part === 'number') ids.push(part);
        else model.encode(part, isFirst, ids);
        isFirst = typeof part === 'number';
      }
    }
    if (options.addSpecialTokens !== false) ids.push(...suffixIds);
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
    const bytes = added ? Buffer.from(added.content) : (this.#model.token(id) ?? noBytes);
    if (id >= 0 && id < this.vocabularySize) this.#bytes[id] = bytes;
    return bytes;
  }

  /** Id of a token given as its text; undefined if there is none. */
  tokenId(text: string): number | undefined {
    for (const token of this.#added.values()) if (token.content === text) return token.id;
    return this.#model.tokenId(text);
  }

  isSpecial(id: number): boolean {
    return this.#added.get(id)?.special ?? false;
  }

  /** The parts of tokenizer.json, for the streaming encoder and trainer of this room. Throws WL_TOKENIZER_INVALID where they can't say it. */
  get file(): TokenizerFile {
    if (this.#parts.file) return this.#parts.file();
    throw new WindlassError(
      'WL_TOKENIZER_INVALID',
      'a SentencePiece tokenizer serves, but cannot be trained with or written as tokenizer.json',
    );
  }

  #specialId(named: string | undefined, usual: readonly string[]): number | undefined {
    for (const content of named === undefined ? usual : [named]) {
      const token = this.#parts.addedTokens.find((token) => token.content === content);
      if (token) return token.id;
    }
    return undefined;
  }
}
