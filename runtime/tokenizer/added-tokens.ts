// Finds added tokens in text before anything else touches it: leftmost first, the longest of those that start at the same place.
import type { AddedTokenEntry } from './tokenizer-file.ts';

interface TrieNode {
  readonly children: Map<number, TrieNode>;
  token?: AddedTokenEntry;
}

/** A stretch of text between added tokens, or the id of an added token. */
export type Piece = string | number;

const wordAtStart = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u;
const wordAtEnd = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]$/u;
const whiteSpace = /[\t-\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;

export class AddedTokenMatcher {
  readonly #root: TrieNode = { children: new Map() };
  /** 1 for each UTF-16 unit that some token starts with. */
  readonly #starts = new Uint8Array(1 << 16);
  readonly #empty: boolean;

  /** `normalize` is applied to contents as it is to the text that they are looked for in. */
  constructor(tokens: readonly AddedTokenEntry[], normalize: (text: string) => string = (text) => text) {
    this.#empty = tokens.length === 0;
    for (const token of tokens) {
      const content = normalize(token.content);
      let node = this.#root;
      for (let i = 0; i < content.length; i++) {
        const unit = content.charCodeAt(i);
        let child = node.children.get(unit);
        if (!child) node.children.set(unit, (child = { children: new Map() }));
        node = child;
      }
      node.token = token;
      this.#starts[content.charCodeAt(0)] = 1;
    }
  }

  /** Cuts `text` at the tokens that `wanted` lets through. Nothing is lost but the spaces that lstrip and rstrip tokens eat. */
  split(text: string, wanted: (token: AddedTokenEntry) => boolean = () => true): Piece[] {
    if (this.#empty) return text === '' ? [] : [text];
    const pieces: Piece[] = [];
    let start = 0;
    for (let at = 0; at < text.length; at++) {
      if (this.#starts[text.charCodeAt(at)] === 0) continue;
      const match = this.#longestAt(text, at);
      if (!match) continue;
      const { token, end } = match;
      const next = end - 1;
      if (wanted(token) && !(token.single_word && insideWord(text, at, end))) {
        const from = token.lstrip ? Math.max(start, skipSpacesBack(text, at)) : at;
        if (from > start) pieces.push(text.slice(start, from));
        pieces.push(token.id);
        start = token.rstrip ? skipSpaces(text, end) : end;
      }
      at = next;
    }
    if (start < text.length) pieces.push(text.slice(start));
    return pieces;
  }

  #longestAt(text: string, at: number): { token: AddedTokenEntry; end: number } | undefined {
    let best: { token: AddedTokenEntry; end: number } | undefined;
    let node: TrieNode | undefined = this.#root;
    for (let end = at; end < text.length;) {
      node = node.children.get(text.charCodeAt(end++));
      if (!node) break;
      if (node.token) best = { token: node.token, end };
    }
    return best;
  }
}

function insideWord(text: string, start: number, end: number): boolean {
  return wordAtEnd.test(text.slice(Math.max(0, start - 2), start)) || wordAtStart.test(text.slice(end, end + 2));
}

function skipSpacesBack(text: string, at: number): number {
  while (at > 0 && whiteSpace.test(text[at - 1]!)) at--;
  return at;
}

function skipSpaces(text: string, at: number): number {
  while (at < text.length && whiteSpace.test(text[at]!)) at++;
  return at;
}
