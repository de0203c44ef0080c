// SentencePiece's BPE, as Llama 1 and 2 use it: characters merged to the token of the highest score, bytes where a character has no token.
import { WindlassError } from '#runtime/api/errors.ts';
import { mergeSymbols } from './merge.ts';
import { PairTable } from './pair-table.ts';
import type { SubwordModel } from './subword-model.ts';

export interface SentencePieces {
  /** By id; undefined for an id that text never becomes (control and unused tokens). */
  readonly tokens: readonly (string | undefined)[];
  readonly scores: Float32Array;
  /** Id of the token that stands for each byte, -1 for none. */
  readonly byteIds: Int32Array;
  /** Stands for a byte that has no token; undefined: such a vocabulary is refused. */
  readonly unknownId: number | undefined;
  /** Whether a space is put before a text that begins a text or follows an added token. */
  readonly spacePrefix: boolean;
}

/** U+2581, which stands for a space in tokens. */
const spaceMark = '\u2581';

/** Longest token that is merged to; SentencePiece's own trainer makes none beyond 16 unless told so. */
const maxTokenCharacters = 256;

export class SentencePieceModel implements SubwordModel {
  readonly size: number;
  readonly #pieces: SentencePieces;
  readonly #ids = new Map<string, number>();
  readonly #byteOf = new Map<number, number>();
  /** Symbol of each character that occurs in tokens: its token, or from `size` on one for each that is no token itself. */
  readonly #symbols = new Map<string, number>();
  readonly #strays: string[] = [];
  readonly #merges = new PairTable();

  /** Throws WL_TOKENIZER_INVALID if some byte has no token and there is no unknown token either. */
  constructor(pieces: SentencePieces) {
    this.#pieces = pieces;
    this.size = pieces.tokens.length;
    for (const [byte, id] of pieces.byteIds.entries()) {
      if (id >= 0) this.#byteOf.set(id, byte);
      else if (pieces.unknownId === undefined)
        throw invalid(`no token stands for the byte 0x${byte.toString(16)}, nor an unknown token`);
    }
    for (const [id, token] of pieces.tokens.entries()) {
      if (token === undefined || this.#byteOf.has(id)) continue;
      if (this.#ids.has(token))
        throw invalid(`token ${JSON.stringify(token)} stands twice, with the ids ${this.#ids.get(token)} and ${id}`);
      this.#ids.set(token, id);
    }
    this.#collectMerges();
  }

  /** Every way in which a token can come of two symbols, ranked by its score: equal scores merge from the left. */
  #collectMerges(): void {
    const { tokens, scores } = this.#pieces;
    for (const token of this.#ids.keys()) {
      for (const character of token) {
        if (this.#symbols.has(character)) continue;
        const id = this.#ids.get(character);
        this.#symbols.set(character, id ?? this.size + this.#strays.length);
        if (id === undefined) this.#strays.push(character);
      }
    }
    const symbolOf = (text: string) => this.#ids.get(text) ?? this.#symbols.get(text);
    let rank = -1;
    let score = Number.NaN;
    for (const id of [...this.#ids.values()].sort((a, b) => scores[b]! - scores[a]!)) {
      const token = tokens[id]!;
      if (scores[id] !== score) rank += 1;
      score = scores[id]!;
      const characters = [...token];
      if (characters.length > maxTokenCharacters)
        throw invalid(`token ${id} has ${characters.length} characters, more than ${maxTokenCharacters}`);
      let left = '';
      for (const character of characters.slice(0, -1)) {
        left += character;
        const [first, second] = [symbolOf(left), symbolOf(token.slice(left.length))];
        if (first !== undefined && second !== undefined) this.#merges.set(first, second, rank, id);
      }
    }
  }

  encode(text: string, isFirst: boolean, ids: number[]): void {
    const prefix = isFirst && this.#pieces.spacePrefix ? ' ' : '';
    const unseen: string[] = [];
    const symbols = Int32Array.from(`${prefix}${text}`.replaceAll(' ', spaceMark), (character: string) => {
      const symbol = this.#symbols.get(character);
      // -1 is no symbol at all. No pair of the table has one below it, so such a character stays alone.
      return symbol ?? -1 - unseen.push(character);
    });
    for (const symbol of symbols.subarray(0, mergeSymbols(symbols, symbols.length, this.#merges))) {
      if (symbol >= this.size) this.#appendBytes(this.#strays[symbol - this.size]!, ids);
      else if (symbol < 0) this.#appendBytes(unseen[-2 - symbol]!, ids);
      else ids.push(symbol);
    }
  }

  #appendBytes(character: string, ids: number[]): void {
    const { byteIds, unknownId } = this.#pieces;
    const found = Array.from(Buffer.from(character), (byte) => byteIds[byte]!);
    if (found.every((id) => id >= 0)) ids.push(...found);
    else if (unknownId !== undefined) ids.push(unknownId);
  }

  normalize(text: string): string {
    return text;
  }

  token(id: number): Uint8Array | undefined {
    const byte = this.#byteOf.get(id);
    if (byte !== undefined) return Uint8Array.of(byte);
    const token = this.#pieces.tokens[id];
    return token === undefined ? undefined : Buffer.from(token.replaceAll(spaceMark, ' '));
  }

  tokenId(text: string): number | undefined {
    return this.#ids.get(text.replaceAll(' ', spaceMark));
  }
}

function invalid(message: string): WindlassError {
  return new WindlassError('WL_TOKENIZER_INVALID', message);
}
