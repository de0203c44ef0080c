import fc from 'fast-check';
import { expect, it } from 'vitest';
import { TextTable } from '#runtime/api/text-table.ts';
import { TokenTable } from './token-table.ts';

const texts = fc.uniqueArray(fc.string({ unit: fc.constantFrom('a', 'b', 'Ġ', 'é', '鯨'), maxLength: 5 }), { maxLength: 60 });

it('has the id of every token, also given as two parts, and of nothing else', () => {
  fc.assert(
    fc.property(texts, fc.string({ unit: fc.constantFrom('a', 'b', 'Ġ') }), (tokens, other) => {
      const table = TokenTable.of(TextTable.of(tokens), (id) => id % 7 !== 3)!;
      for (const [id, token] of tokens.entries()) {
        const wanted = id % 7 === 3 ? -1 : id;
        const bytes = Buffer.from(`x${token}`);
        expect(table.idOf(token)).toBe(wanted);
        for (let cut = 1; cut <= bytes.length; cut += 1) expect(table.idOfPair(bytes, 1, cut, cut, bytes.length)).toBe(wanted);
      }
      if (!tokens.includes(other)) expect(table.idOf(other)).toBe(-1);
    }),
    { numRuns: 200, seed: 5 },
  );
});

it('is not made where a token stands twice', () => {
  const twice = TextTable.of(['a', 'b', 'a']);
  expect(TokenTable.of(twice, () => true)).toBeUndefined();
  expect(TokenTable.of(twice, (id) => id > 0)?.idOf('a')).toBe(2);
});
