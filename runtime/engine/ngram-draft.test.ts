// Guesses by repeated text, against a search by hand; and how many are made.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DraftLength } from './draft-length.ts';
import { draftByNgram } from './ngram-draft.ts';

/** What follows the earliest of the longest earlier matches of the last tokens. */
function searched(tokens: readonly number[], count: number, least: number, most: number): readonly number[] {
  for (let size = Math.min(most, tokens.length - 1); size >= least; size -= 1) {
    const last = tokens.slice(-size).join();
    for (let start = 0; start + size < tokens.length; start += 1)
      if (tokens.slice(start, start + size).join() === last) return tokens.slice(start + size, start + size + count);
  }
  return [];
}

describe('draftByNgram', () => {
  it('finds what a search by hand finds', () => {
    const text = fc.array(fc.nat(2), { maxLength: 40 });
    fc.assert(
      fc.property(
        text,
        fc.integer({ min: 1, max: 6 }),
        fc.integer({ min: 1, max: 3 }),
        fc.nat(4),
        (tokens, count, least, more) => {
          const most = least + more;
          expect(draftByNgram(tokens, count, { least, most })).toEqual(searched(tokens, count, least, most));
        },
      ),
      { numRuns: 2000 },
    );
  });

  it('prefers a longer match to an earlier one', () => {
    expect(draftByNgram([2, 3, 7, 1, 2, 3, 8, 9, 1, 2, 3], 2, { least: 2, most: 4 })).toEqual([8, 9]);
    expect(draftByNgram([2, 3, 7, 1, 2, 3, 8, 9, 1, 2, 3], 2, { least: 2, most: 2 })).toEqual([7, 1]);
  });
});

describe('DraftLength', () => {
  it('guesses much alone, less in a crowd, and nothing in a large one', () => {
    const length = new DraftLength();
    for (let i = 0; i < 20; i += 1) length.saw(4, 4);
    expect([1, 4, 16, 256].map((rows) => length.next(rows, 8))).toEqual([8, 8, 8, 0]);
    expect([1, 4, 16, 256].map((rows) => new DraftLength().next(rows, 8))).toEqual([5, 2, 0, 0]);
  });

  it('gives up on a text whose guesses are wrong, and tries again later', () => {
    const length = new DraftLength();
    let tries = 0;
    for (let token = 0; token < 400; token += 1) {
      const drafted = length.next(1, 8);
      if (drafted > 0) tries += 1;
      length.saw(drafted, 0);
    }
    expect(tries).toBeGreaterThan(5);
    expect(tries).toBeLessThan(60);
  });

  it('counts what follows a wrong guess as unknown', () => {
    const [one, eight] = [new DraftLength(), new DraftLength()];
    one.saw(2, 1);
    eight.saw(8, 1);
    expect(eight.next(1, 8)).toBe(one.next(1, 8));
  });
});
