// Where a text can be cut so that its parts give the same words as the whole: the ground of streaming encoding and counting.
import type { TokenizerFile } from './tokenizer-file.ts';

/**
 * Whatever stands further left or right, every supported pattern ends a word before a space that follows a non-space, and after a
 * newline between two characters that are no spaces (one pattern lets slashes follow newlines). Nor does NFC compose across these places.
 */
const beforeSpace = /[^\s\x85](?= )/gu;
const afterNewline = /(?<=[^\s\x85])\n(?=[^\s\x85/\p{M}])/gu;

/** Text without any such place is cut at this length all the same: one word must not grow without bound, nor hold up the event loop. */
const maxUncutCharacters = 128 * 1024;

export interface CutRules {
  /** Cutting after a newline is no good when every piece gets a space in front. */
  readonly atNewlines: boolean;
  /** Added tokens that could lie across a cut, or reach over it to eat spaces. */
  readonly spanning: readonly string[];
}

export const plainCutRules: CutRules = { atNewlines: true, spanning: [] };

export function cutRulesOf({ addedTokens, preTokenizer }: TokenizerFile): CutRules {
  const last = preTokenizer.type === 'Sequence' ? preTokenizer.pretokenizers.at(-1) : preTokenizer;
  return {
    atNewlines: !(last?.type === 'ByteLevel' && last.add_prefix_space),
    spanning: addedTokens
      .filter((token) => token.lstrip || token.rstrip || /\s/u.test(token.content))
      .map((token) => token.content),
  };
}

/** Collects text and gives it out in parts that end at safe places. */
export class CutBuffer {
  readonly #rules: CutRules;
  /** A token that begins before a cut must be seen whole, so no cut is made this close to the end. */
  readonly #reach: number;
  #pending = '';

  constructor(rules: CutRules) {
    this.#rules = rules;
    this.#reach = Math.max(0, ...rules.spanning.map((token) => token.length));
  }

  /** Adds text and returns what is ready; may be empty. Texts may be cut anywhere, also inside a surrogate pair. */
  push(text: string): string {
    // What was pending holds no safe place that was not seen, but near its end.
    const from = Math.max(0, this.#pending.length - this.#reach - 2);
    this.#pending += text;
    const cut = this.#lastCut(from);
    if (cut > 0) return this.#take(cut);
    const { length } = this.#pending;
    return length < maxUncutCharacters ? '' : this.#take(endsInsidePair(this.#pending) ? length - 1 : length);
  }

  /** The rest; the buffer is empty after. */
  end(): string {
    return this.#take(this.#pending.length);
  }

  #take(length: number): string {
    const ready = this.#pending.slice(0, length);
    this.#pending = this.#pending.slice(length);
    return ready;
  }

  #lastCut(from: number): number {
    const text = this.#pending;
    const last = text.length - this.#reach;
    const { atNewlines, spanning } = this.#rules;
    // Near the end first: ordinary text has a place within a few words.
    for (let window = 256; ; window *= 8) {
      const start = Math.max(from, text.length - window);
      const cuts: number[] = [];
      for (const pattern of atNewlines ? [beforeSpace, afterNewline] : [beforeSpace]) {
        pattern.lastIndex = start;
        while (pattern.test(text)) if (pattern.lastIndex <= last) cuts.push(pattern.lastIndex);
      }
      cuts.sort((a, b) => b - a);
      const cut = cuts.find((at) => !spanning.some((token) => near(text, at, token)));
      if (cut !== undefined) return cut;
      if (start === from) return 0;
    }
  }
}

function near(text: string, at: number, token: string): boolean {
  return text.slice(Math.max(0, at - token.length), at + token.length).includes(token);
}

function endsInsidePair(text: string): boolean {
  return (text.charCodeAt(text.length - 1) & 0xfc00) === 0xd800;
}
