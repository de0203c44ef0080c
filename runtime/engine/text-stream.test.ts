// Streaming text: whole characters only, stop texts found across token borders, nothing shown too early or too late.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { StopStrings } from './stop-strings.ts';
import { TextStream } from './text-stream.ts';

const encode = (text: string) => new TextEncoder().encode(text);

/** Pushes each piece as one token; gives the pieces shown, the number of tokens released and whether a stop was reached. */
function stream(pieces: readonly Uint8Array[], stops: readonly string[]) {
  const text = new TextStream(stops.length > 0 ? new StopStrings(stops) : undefined);
  const shown: string[] = [];
  let tokens = 0;
  for (const piece of pieces) {
    const released = text.push(piece);
    shown.push(released.text);
    tokens += released.tokens;
    if (released.stopped) return { shown, tokens, stopped: true };
  }
  const released = text.end();
  shown.push(released.text);
  return { shown, tokens: tokens + released.tokens, stopped: released.stopped };
}

/** The text before the first stop text to end, the longest of those that end there; undefined if none occurs. */
function beforeStop(text: string, stops: readonly string[]): string | undefined {
  for (let end = 1; end <= text.length; end += 1) {
    const ending = stops.filter((stop) => text.slice(0, end).endsWith(stop));
    if (ending.length > 0) return text.slice(0, end - Math.max(...ending.map((stop) => stop.length)));
  }
  return undefined;
}

describe('TextStream', () => {
  it('holds back the bytes of a character until it is whole', () => {
    const bytes = encode('aé🐋b');
    expect(
      stream(
        Array.from(bytes, (byte) => Uint8Array.of(byte)),
        [],
      ).shown,
    ).toEqual(['a', '', 'é', '', '', '', '🐋', 'b', '']);
  });

  it('releases the tokens of a character together with it', () => {
    const text = new TextStream();
    expect(Array.from(encode('é🐋'), (byte) => text.push(Uint8Array.of(byte)).tokens)).toEqual([0, 2, 0, 0, 0, 4]);
  });

  it('shows U+FFFD for a character that never becomes whole', () => {
    const { shown, tokens } = stream([Uint8Array.of(0x61, 0xf0, 0x9f)], []);
    expect(shown).toEqual(['a', '\ufffd']);
    expect(tokens).toBe(1);
  });

  it('ends before a stop text that lies across tokens, and shows no part of it', () => {
    expect(stream(['one E', 'N', 'D two'].map(encode), ['END'])).toEqual({ shown: ['one ', '', ''], tokens: 1, stopped: true });
  });

  it('shows the held text when it turns out not to be a stop text', () => {
    expect(stream(['E', 'N', 'E', 'ND!'].map(encode), ['END?']).shown).toEqual(['', '', 'EN', 'END!', '']);
  });

  it('releases held text at the end', () => {
    expect(stream(['E', 'N'].map(encode), ['END'])).toEqual({ shown: ['', '', 'EN'], tokens: 2, stopped: false });
  });

  it('prefers the longest of the stop texts that end at the same place', () => {
    expect(stream(['xabc'].map(encode), ['c', 'abc', 'bc'])).toEqual({ shown: ['x'], tokens: 1, stopped: true });
  });

  it('finds a stop text that ends inside another that goes on', () => {
    expect(stream(['ab', 'cx'].map(encode), ['abcd', 'bc']).shown.join('')).toBe('a');
  });

  it('shows exactly the text before the first stop text, however it is cut into tokens', () => {
    const character = fc.constantFrom('a', 'b', 'é', '🐋');
    const word = (maxLength: number) => fc.array(character, { minLength: 1, maxLength }).map((characters) => characters.join(''));
    fc.assert(
      fc.property(
        word(30),
        fc.array(word(4), { maxLength: 4 }),
        fc.array(fc.integer({ min: 1, max: 5 })),
        (text, stops, cuts) => {
          const bytes = encode(text);
          const pieces: Uint8Array[] = [];
          for (let at = 0, i = 0; at < bytes.length; i += 1) pieces.push(bytes.slice(at, (at += cuts[i] ?? 3)));
          const result = stream(pieces, stops);
          const expected = beforeStop(text, stops);
          expect(result.shown.join('')).toBe(expected ?? text);
          expect(result.stopped).toBe(expected !== undefined);
          if (!result.stopped) expect(result.tokens).toBe(pieces.length);
          for (const piece of result.shown) expect(piece.isWellFormed()).toBe(true);
        },
      ),
      { numRuns: 500 },
    );
  });
});
