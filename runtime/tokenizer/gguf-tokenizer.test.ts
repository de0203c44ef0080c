import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TextTable } from '#runtime/api/text-table.ts';
import { ggufTokenizer } from './gguf-tokenizer.ts';
import { Tokenizer } from './tokenizer.ts';
import { byteCharacters } from './byte-alphabet.ts';

type Vocabulary = Parameters<typeof ggufTokenizer>[0];

const nothing = {
  source: 'm.gguf',
  pre: 'default',
  scores: undefined,
  merges: undefined,
  bos: undefined,
  eos: undefined,
  unknown: undefined,
  padding: undefined,
  addBos: undefined,
  addEos: undefined,
  addSpacePrefix: undefined,
  chatTemplate: undefined,
} as const;

describe('SentencePiece', () => {
  const fixture = JSON.parse(readFileSync(new URL('../../tests/fixtures/gguf/sentencepiece.json', import.meta.url), 'utf8')) as {
    readonly tokens: string[];
    readonly scores: number[];
    readonly types: number[];
    readonly cases: [string, number[]][];
  };
  const vocabulary: Vocabulary = {
    ...nothing,
    model: 'llama',
    tokens: TextTable.of(fixture.tokens),
    types: Int32Array.from(fixture.types),
    scores: Float32Array.from(fixture.scores),
    bos: 1,
    eos: 2,
  };
  const tokenizer = ggufTokenizer(vocabulary);
  const plain = { addSpecialTokens: false, specialTokensInText: 'plain' } as const;

  it('gives the ids of SentencePiece for every text of the fixture', () => {
    for (const [text, ids] of fixture.cases) expect(tokenizer.encode(text, plain), text).toEqual(ids);
  });

  it('merges the pair of the highest score first, the leftmost of equals: as trying all pairs again and again does', () => {
    const scores = new Map(fixture.tokens.map((token, id) => [token, fixture.types[id] === 1 ? fixture.scores[id]! : undefined]));
    const naive = (text: string): number[] => {
      const symbols = [...` ${text}`.replaceAll(' ', '\u2581')];
      for (;;) {
        let best = -1;
        const scoreAt = (at: number) => scores.get(symbols[at]! + (symbols[at + 1] ?? '\0'));
        for (const at of symbols.keys()) if ((scoreAt(at) ?? -Infinity) > (best < 0 ? -Infinity : scoreAt(best)!)) best = at;
        if (best < 0) break;
        symbols.splice(best, 2, symbols[best]! + symbols[best + 1]!);
      }
      const byteId = (byte: number) => fixture.tokens.indexOf(`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
      return symbols.flatMap((symbol) =>
        scores.get(symbol) === undefined ? [...Buffer.from(symbol)].map(byteId) : [fixture.tokens.indexOf(symbol)],
      );
    };
    const text = fc.string({
      unit: fc.constantFrom(...'etaonih sr,.\n', 'é', '鯨', '🐳', '\u2581'),
      minLength: 1,
      maxLength: 80,
    });
    fc.assert(
      fc.property(text, (each) => {
        expect(tokenizer.encode(each, plain)).toEqual(naive(each));
      }),
      { numRuns: 200, seed: 3 },
    );
  });

  const character = fc.integer({ min: 0, max: 0x10ffff }).map((code) => String.fromCodePoint(code));

  it('loses nothing: ids back to text give the text with the space in front', () => {
    fc.assert(
      fc.property(fc.string({ unit: character, minLength: 1 }), (text) => {
        const ids = tokenizer.encode(text, plain);
        expect(tokenizer.decode(ids)).toBe(` ${text.toWellFormed().replaceAll('\u2581', ' ')}`);
      }),
      { numRuns: 300, seed: 4 },
    );
  });

  it('puts the begin-of-text token and a space in front, and a space after a special token', () => {
    const [space] = tokenizer.encode('whale', plain);
    expect(tokenizer.encode('')).toEqual([1]);
    expect(tokenizer.encode('whale')).toEqual([1, ...tokenizer.encode('whale', plain)]);
    expect(tokenizer.encode('whale</s>whale')).toEqual([
      1,
      ...tokenizer.encode('whale', plain),
      2,
      ...tokenizer.encode('whale', plain),
    ]);
    const bare = ggufTokenizer({ ...vocabulary, addSpacePrefix: false, addBos: false, addEos: true });
    expect(bare.encode('whale')[0]).not.toBe(space);
    expect(bare.encode('whale').at(-1)).toBe(2);
    expect([tokenizer.bos, tokenizer.eos, tokenizer.isSpecial(2), tokenizer.vocabularySize]).toEqual([1, 2, true, 700]);
  });

  it('says that it can not be written as tokenizer.json', () => {
    expect(() => tokenizer.toJson()).toThrow('SentencePiece tokenizer serves');
  });

  it.each([
    ['no scores', { scores: undefined }, 'no tokenizer.ggml.scores'],
    ['a score that is no number', { scores: new Float32Array(700).fill(Number.NaN) }, 'the score of token 0 is NaN'],
    ['a missing byte and no unknown token', { types: new Int32Array(700).fill(1) }, 'no token stands for the byte 0x0'],
    ['a token twice', { tokens: TextTable.of(fixture.tokens.with(699, fixture.tokens[698]!)) }, 'stands twice'],
    ['an endless token', { tokens: TextTable.of(fixture.tokens.with(699, 'e'.repeat(300))) }, 'more than 256'],
  ])('refuses %s', (_, change, reason) => {
    expect(() => ggufTokenizer({ ...vocabulary, ...change })).toThrow(reason);
  });
});

describe('byte-level BPE', () => {
  const merges = [
    ['h', 'e'],
    ['Ġ', 'he'],
    ['1', '2'],
    ['12', '3'],
    ['!', '!'],
  ] as const;
  const tokens = ['<|end|>', '<mark>', ...byteCharacters, ...merges.map(([left, right]) => left + right), '[PAD]'];
  const vocabulary: Vocabulary = {
    ...nothing,
    model: 'gpt2',
    tokens: TextTable.of(tokens),
    types: Int32Array.from(tokens, (_, id) => (id === 0 ? 3 : id === 1 ? 4 : id === tokens.length - 1 ? 5 : 1)),
    merges: TextTable.of(merges.map((merge) => merge.join(' '))),
    eos: 0,
  };
  const shown = (pre: string, text: string, change: Partial<Vocabulary> = {}) => {
    const tokenizer = ggufTokenizer({ ...vocabulary, ...change, pre });
    return tokenizer.encode(text).map((id) => tokenizer.decode([id]));
  };

  it('cuts as the name of the pattern says', () => {
    expect(shown('gpt-2', 'the 1234!!')).toEqual(['t', 'he', ' ', '123', '4', '!!']);
    expect(shown('smollm', 'the 1234!!')).toEqual(['t', 'he', ' ', '1', '2', '3', '4', '!!']);
    expect(shown('llama-bpe', '1231234')).toEqual(['123', '123', '4']);
    expect(shown('qwen2', '123')).toEqual(['1', '2', '3']);
    expect(shown('default', 'x123123!! he')).toEqual(['x', '123', '123', '!!', ' he']);
  });

  it('without a name cuts as llama.cpp does: punctuation, then words, then digits by three', () => {
    expect(shown('default', "it's 12345+67")).toEqual(['i', 't', "'", 's', ' ', '123', '4', '5', '+', '6', '7']);
    expect(shown('default', '٣123123')).toEqual(expect.arrayContaining(['123', '123']));
  });

  it('finds special and user-defined tokens, and puts the begin-of-text token where the file asks for it', () => {
    expect(shown('gpt-2', 'he<mark>he<|end|>')).toEqual(['he', '<mark>', 'he', '<|end|>']);
    expect(shown('gpt-2', 'he', { bos: 0, addBos: true, addEos: true })).toEqual(['<|end|>', 'he', '<|end|>']);
    expect(shown('llama-bpe', 'he', { bos: 0 })).toEqual(['<|end|>', 'he']);
    expect(shown('llama-bpe', 'he', { bos: 0, addBos: false })).toEqual(['he']);
    const tokenizer = ggufTokenizer({ ...vocabulary, pre: 'gpt-2' });
    expect([tokenizer.isSpecial(0), tokenizer.isSpecial(1), tokenizer.eos]).toEqual([true, false, 0]);
  });

  it('is the tokenizer.json that it can be written as', () => {
    for (const pre of ['gpt-2', 'smollm', 'llama-bpe', 'qwen2', 'qwen35', 'default']) {
      const tokenizer = ggufTokenizer({ ...vocabulary, pre, bos: 0, addBos: true });
      const again = Tokenizer.fromJson(tokenizer.toJson());
      const text = "Then he said: 12345 whales, isn't it?  naïve\n\n";
      expect(again.encode(text), pre).toEqual(tokenizer.encode(text));
    }
  });

  it('drops control characters that a vocabulary lacks, and nothing else', () => {
    const without = (byte: number) => ({
      tokens: TextTable.of(tokens.with(tokens.indexOf(byteCharacters[byte]!), `gone ${byte}`)),
    });
    expect(shown('gpt-2', 'a\u0004b', without(4))).toEqual(['a', 'b']);
    expect(() => shown('gpt-2', 'a', without(0x0a))).toThrow('lacks 1 of the bytes of UTF-8, the first is 0xa');
    expect(() => shown('gpt-2', 'a', without(0xe9))).toThrow('lacks 1 of the bytes of UTF-8, the first is 0xe9');
  });

  it.each([
    ['another kind', { model: 'bert' }, 'tokenizer.ggml.model is "bert"; supported are gpt2 and llama'],
    ['an unknown pattern', { pre: 'falcon' }, 'tokenizer.ggml.pre is "falcon"; supported are default, gpt-2'],
    ['no merges', { merges: undefined }, 'no tokenizer.ggml.merges'],
    ['merges of unknown tokens', { merges: TextTable.of(['q u']) }, '"qu" is not in the vocabulary'],
    ['a token twice', { tokens: TextTable.of(tokens.with(5, 'he')) }, 'stands twice, with the ids 5 and'],
  ])('refuses %s', (_, change, reason) => {
    expect(() => ggufTokenizer({ ...vocabulary, pre: 'gpt-2', ...change })).toThrow(`m.gguf: `);
    expect(() => ggufTokenizer({ ...vocabulary, pre: 'gpt-2', ...change })).toThrow(reason);
  });
});
