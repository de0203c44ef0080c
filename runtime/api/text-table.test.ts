import fc from 'fast-check';
import { expect, it } from 'vitest';
import { TextTable, isUtf8 } from './text-table.ts';

it('gives the texts that it was made of', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: 'binary', maxLength: 8 }), { maxLength: 10 }), (texts) => {
      const table = TextTable.of(texts.map((text) => text.toWellFormed()));
      expect([...table]).toEqual(texts.map((text) => text.toWellFormed()));
      expect(table.at(texts.length)).toBeUndefined();
    }),
    { numRuns: 100, seed: 1 },
  );
});

it('takes for UTF-8 what a strict decoder takes', () => {
  const isDecoded = (bytes: Uint8Array) => {
    try {
      new TextDecoder('utf-8', { fatal: true }).decode(bytes);
      return true;
    } catch {
      return false;
    }
  };
  const edges = fc.constantFrom(0, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf);
  const leads = fc.constantFrom(0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff);
  fc.assert(
    fc.property(fc.array(fc.oneof(edges, leads), { maxLength: 6 }), (list) => {
      const bytes = Uint8Array.from(list);
      expect(isUtf8(bytes, 0, bytes.length)).toBe(isDecoded(bytes));
    }),
    { numRuns: 20_000, seed: 2 },
  );
  for (let lead = 0xe0; lead <= 0xff; lead += 1) {
    for (let second = 0x70; second <= 0xcf; second += 1) {
      const bytes = Uint8Array.of(lead, second, 0x80, 0x80);
      for (const end of [2, 3, 4]) expect(isUtf8(bytes, 0, end), bytes.join()).toBe(isDecoded(bytes.subarray(0, end)));
    }
  }
});
