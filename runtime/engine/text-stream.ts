// Turns the bytes of generated tokens into text that may be shown: whole characters, and nothing that may belong to a stop text.
import type { StopStrings } from './stop-strings.ts';

/** Text that became certain, and how many tokens (counted from the oldest not yet released) are complete with it. */
export interface Released {
  readonly text: string;
  readonly tokens: number;
  /** A stop text was reached; the text ends before it and nothing follows. */
  readonly stopped: boolean;
}

export class TextStream {
  readonly #stops: StopStrings | undefined;
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  #state = 0;
  /** Decoded text that is not released, and the offset in the whole text where it begins. */
  #pending = '';
  #offset = 0;
  /** Where the text of each unreleased token begins and ends, in the whole text. */
  readonly #spans: { start: number; end: number }[] = [];

  constructor(stops?: StopStrings) {
    this.#stops = stops;
  }

  /** Adds a token; one without text (the end of text, other special tokens) has no bytes. No stop text begins in one that may not stop. */
  push(bytes: Uint8Array, mayStop = true): Released {
    const start = this.#offset + this.#pending.length;
    const added = this.#decoder.decode(bytes, { stream: true });
    // Bytes that show nothing yet wait for the character that they belong to.
    const length = bytes.length > 0 ? Math.max(1, added.length) : 0;
    this.#spans.push({ start, end: start + length });
    return this.#append(added, mayStop);
  }

  /** Releases all that was held back; a character that lacks bytes becomes U+FFFD. */
  end(): Released {
    const released = this.#append(this.#decoder.decode(), true);
    if (released.stopped) return released;
    const rest = this.#pending;
    const tokens = released.tokens + this.#spans.length;
    this.#pending = '';
    this.#spans.length = 0;
    return { text: released.text + rest, tokens, stopped: false };
  }

  #append(added: string, mayStop: boolean): Released {
    const stops = mayStop ? this.#stops : undefined;
    const before = this.#pending.length;
    this.#pending += added;
    if (!stops) return this.#release(this.#pending.length);
    for (let i = before; i < this.#pending.length; i += 1) {
      this.#state = stops.advance(this.#state, this.#pending.charCodeAt(i));
      const length = stops.matched(this.#state);
      if (length > 0) return this.#stopAt(i + 1 - length);
    }
    return this.#release(this.#pending.length - stops.held(this.#state));
  }

  #release(length: number): Released {
    const text = this.#pending.slice(0, length);
    this.#pending = this.#pending.slice(length);
    this.#offset += length;
    const open = this.#spans.findIndex((span) => span.end > this.#offset);
    const tokens = open < 0 ? this.#spans.length : open;
    this.#spans.splice(0, tokens);
    return { text, tokens, stopped: false };
  }

  /** Ends the text after `length` pending units. Tokens that begin before that place belong to it. */
  #stopAt(length: number): Released {
    const text = this.#pending.slice(0, length);
    const end = this.#offset + length;
    const tokens = this.#spans.filter((span) => span.start < end).length;
    this.#pending = '';
    this.#spans.length = 0;
    return { text, tokens, stopped: true };
  }
}
