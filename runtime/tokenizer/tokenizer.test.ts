import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { byteCharacters } from './byte-alphabet.ts';
import { mergeSymbols } from './merge.ts';
import { PairTable } from './pair-table.ts';
import { sampleStrings, seededRandom } from './sample-strings.ts';
import { StreamEncoder } from './stream-encoder.ts';
import { Tokenizer } from './tokenizer.ts';
import { trainTokenizer } from './train-tokenizer.ts';

/** A tokenizer.json with the 256 bytes and nothing else, changed at will. */
function bytesOnly(changes: Record<string, unknown> = {}, model: Record<string, unknown> = {}): string {
  return JSON.stringify({
    added_tokens: [],
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: true },
    decoder: { type: 'ByteLevel' },
    ...changes,
    model: { type: 'BPE', vocab: Object.fromEntries(byteCharacters.map((c, i) => [c, i])), merges: [], ...model },
  });
}

let trained: Tokenizer;
beforeAll(async () => {
  trained = await trainTokenizer(sampleStrings(3000, 11), { vocabularySize: 2000 });
});

describe('round trips', () => {
  it('decoding the ids of any string gives the string, lone surrogates as U+FFFD', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 60 }), (text) => {
        expect(trained.decode(trained.encode(text))).toBe(text.toWellFormed());
      }),
      { numRuns: 500 },
    );
    for (const text of sampleStrings(2000, 12)) expect(trained.decode(trained.encode(text))).toBe(text.toWellFormed());
  });

  it('writing, reading and writing a tokenizer gives the same bytes and the same digest', () => {
    const again = Tokenizer.fromJson(trained.toJson());
    expect(again.toJson()).toBe(trained.toJson());
    expect(again.digest).toBe(trained.digest);
    expect(Tokenizer.fromJson(bytesOnly()).digest).not.toBe(trained.digest);
  });

  it('keeps the ids of tokens that look like integers', () => {
    const vocab = Object.fromEntries([...byteCharacters.map((c, i) => [c, i] as const), ['12', 256], ['__proto__', 257]]);
    const tokenizer = Tokenizer.fromJson(bytesOnly({}, { vocab, merges: ['1 2'] }));
    expect(tokenizer.encode('12')).toEqual([256]);
    expect(Tokenizer.fromJson(tokenizer.toJson()).encode('12')).toEqual([256]);
    expect(tokenizer.vocabularySize).toBe(258);
  });
});

describe('streams', () => {
  it('a text that arrives in parts of any size has the ids of the whole', () => {
    const flagged = Tokenizer.fromJson(
      trained.toJson().replace(
        '"added_tokens": [',
        `"added_tokens": [
          {"id": 2001, "content": "<two words>", "special": false, "normalized": false},
          {"id": 2002, "content": "<mask>", "lstrip": true, "rstrip": true, "special": true, "normalized": false},`,
      ),
    );
    const whole = sampleStrings(400, 13).join(' ');
    const random = seededRandom(14);
    for (const tokenizer of [trained, flagged]) {
      for (const largest of [1, 7, 500, 20_000]) {
        const encoder = new StreamEncoder(tokenizer);
        const ids: number[] = [];
        for (let at = 0; at < whole.length;) {
          const end = at + 1 + Math.floor(random() * largest);
          for (const id of encoder.push(whole.slice(at, end))) ids.push(id);
          at = end;
        }
        ids.push(...encoder.end());
        expect(ids).toEqual(tokenizer.encode(whole));
      }
    }
  });

  it('gives ids before the end of a text comes', () => {
    const encoder = new StreamEncoder(trained);
    const before = encoder.push('It was the best of times, it was the worst of times').length;
    expect(before).toBeGreaterThan(5);
  });

  it('a text without any space is cut after a bounded length', () => {
    const encoder = new StreamEncoder(trained);
    let ids = 0;
    for (let i = 0; i < 20; i++) ids += encoder.push('鯨'.repeat(10_000)).length;
    expect(ids).toBeGreaterThan(0);
  });
});

describe('encoding', () => {
  it('special tokens in a text can be taken as plain text', () => {
    expect(trained.encode('<|endoftext|>')).toEqual([0]);
    const plain = trained.encode('<|endoftext|>', { specialTokensInText: 'plain' });
    expect(plain).not.toContain(0);
    expect(trained.decode(plain)).toBe('<|endoftext|>');
  });

  it('a word of a hundred thousand symbols merges as pairs do in a short one', () => {
    const table = new PairTable();
    table.set(1, 1, 0, 2);
    table.set(2, 2, 1, 3);
    table.set(3, 1, 2, 4);
    for (const length of [1, 2, 47, 48, 49, 50, 1001, 100_000, 100_001, 100_003]) {
      const symbols = new Int32Array(length).fill(1);
      const merged = [...symbols.subarray(0, mergeSymbols(symbols, length, table))];
      const fours = Math.floor(length / 4);
      const rest = [[], [1], [2], [2, 1]][length % 4]!;
      const expected = [...Array<number>(fours).fill(3), ...rest];
      // (3, 1) is of the lowest standing: only a 3 before a single 1 becomes a 4.
      if (length % 4 === 1 && fours > 0) expected.splice(-2, 2, 4);
      expect(merged).toEqual(expected);
    }
  });

  it('scan and heap merge any word the same way', () => {
    const random = seededRandom(15);
    // Few symbols and most pairs known, so that merging changes the rank of neighbouring pairs all the time.
    const table = new PairTable();
    for (let rank = 0; rank < 50; rank++) {
      table.set(Math.floor(random() * 8), Math.floor(random() * 8), rank, Math.floor(random() * 8));
    }
    for (let round = 0; round < 300; round++) {
      // Symbol 1000 is in no pair, so both halves of the long word merge as the short one.
      const word = Array.from({ length: 1 + Math.floor(random() * 48) }, () => Math.floor(random() * 8));
      const long = Int32Array.from([...word, 1000, ...word, 1000, ...word, 1000, ...Array<number>(49).fill(1000)]);
      const short = Int32Array.from(word);
      const alone = [...short.subarray(0, mergeSymbols(short, short.length, table))];
      const together = [...long.subarray(0, mergeSymbols(long, long.length, table))];
      expect(together.slice(0, 3 * (alone.length + 1))).toEqual([...alone, 1000, ...alone, 1000, ...alone, 1000]);
    }
  });

  it('ids outside the vocabulary decode to nothing', () => {
    expect(trained.decode([-1, 1e6, 2000])).toBe('');
  });

  it('finds tokens by their text', () => {
    expect(trained.tokenId('<|endoftext|>')).toBe(0);
    expect(trained.decode([trained.tokenId(' ')!])).toBe(' ');
    expect(trained.tokenId('no such token at all')).toBeUndefined();
  });
});

describe('what is refused', () => {
  const bytes = Object.fromEntries(byteCharacters.map((c, i) => [c, i]));
  const { a: _, ...lacking } = bytes;
  const split = (pattern: string) => ({ type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false });
  const added = (...tokens: [number, string][]) => ({ added_tokens: tokens.map(([id, content]) => ({ id, content })) });

  it.each([
    ['text that is not JSON', '{"model": ', /not JSON/],
    ['another model', bytesOnly({}, { type: 'Unigram' }), /model\.type is "Unigram"/],
    ['a missing vocabulary', bytesOnly({}, { vocab: undefined }), /model\.vocab is not an object/],
    ['dropout', bytesOnly({}, { dropout: 0.1 }), /model\.dropout is 0\.1/],
    ['byte fallback', bytesOnly({}, { byte_fallback: true }), /model\.byte_fallback is true/],
    ['word affixes', bytesOnly({}, { end_of_word_suffix: '</w>' }), /model\.end_of_word_suffix is "<\/w>"/],
    ['a normalizer by name', bytesOnly({ normalizer: { type: 'NFKC' } }), /normalizer\.type is "NFKC"/],
    ['a decoder by name', bytesOnly({ decoder: { type: 'Metaspace' } }), /decoder\.type is "Metaspace"/],
    ['a missing decoder', bytesOnly({ decoder: null }), /decoder is null/],
    ['a pre-tokenizer by name', bytesOnly({ pre_tokenizer: { type: 'Metaspace' } }), /pre_tokenizer\.type is "Metaspace"/],
    ['no byte level', bytesOnly({ pre_tokenizer: { type: 'Digits', individual_digits: true } }), /without ByteLevel/],
    [
      'an unknown pattern',
      bytesOnly({ pre_tokenizer: { type: 'Sequence', pretokenizers: [split('(a+)+$')] } }),
      /Split pattern .*\(a\+\)\+\$/,
    ],
    [
      'a post-processor by name',
      bytesOnly({ post_processor: { type: 'BertProcessing' } }),
      /post_processor\.type is "BertProcessing"/,
    ],
    ['a vocabulary without a byte', bytesOnly({}, { vocab: lacking }), /lacks 1 of the bytes of UTF-8, the first is 0x61/],
    ['two tokens of one id', bytesOnly({}, { vocab: { ...bytes, ab: 3 } }), /share the id 3/],
    ['an id that is no integer', bytesOnly({}, { vocab: { ...bytes, ab: 1.5 } }), /the id 1\.5/],
    ['an id beyond the limit', bytesOnly({}, { vocab: { ...bytes, ab: 2 ** 30 } }), /the id 1073741824/],
    ['a merge of unknown tokens', bytesOnly({}, { merges: ['a b'] }), /merges\[0\]: "ab" is not in the vocabulary/],
    ['a merge of three', bytesOnly({}, { merges: ['a b c'] }), /merges\[0\] is not a pair/],
    ['a token too long', bytesOnly({}, { vocab: { ...bytes, ['x'.repeat(5000)]: 256 } }), /5000 characters/],
    ['an added token with the id of another', bytesOnly(added([7, '<x>'])), /has the id 7, which is that of/],
    ['an added token with two ids', bytesOnly(added([256, 'a'])), /has the id 256, which is \d+ in the vocabulary/],
    ['an added token twice', bytesOnly(added([256, '<x>'], [257, '<x>'])), /listed twice/],
    ['deep nesting', bytesOnly({ extra: JSON.parse(`${'['.repeat(40)}${']'.repeat(40)}`) as unknown }), /nested deeper/],
  ])('%s', (_name, json, message) => {
    expect(() => Tokenizer.fromJson(json)).toThrow(
      expect.objectContaining({ code: 'WL_TOKENIZER_INVALID', message: expect.stringMatching(message) }),
    );
  });

  it('any bytes in place of a tokenizer.json, by WL_TOKENIZER_INVALID and no other error', () => {
    const json = bytesOnly(added([256, '<x>']));
    fc.assert(
      fc.property(fc.nat(json.length - 1), fc.string({ maxLength: 4 }), fc.nat(20), (at, insert, cut) => {
        try {
          Tokenizer.fromJson(json.slice(0, at) + insert + json.slice(at + cut));
        } catch (error) {
          expect(error).toMatchObject({ code: 'WL_TOKENIZER_INVALID' });
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('folders', () => {
  it('names end-of-text as tokenizer_config.json says, and takes the chat template of its own file', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'wl-tokenizer-'));
    await writeFile(
      join(folder, 'tokenizer.json'),
      bytesOnly({ added_tokens: [256, 257, 258].map((id) => ({ id, content: `<${id}>`, special: true })) }),
    );
    expect(await Tokenizer.fromFolder(folder)).toMatchObject({ eos: undefined, config: {} });
    const config = {
      bos_token: null,
      eos_token: { content: '<257>' },
      pad_token: '<258>',
      chat_template: [{ name: 'default', template: 'old' }],
    };
    await writeFile(join(folder, 'tokenizer_config.json'), JSON.stringify(config));
    expect(await Tokenizer.fromFolder(folder)).toMatchObject({
      bos: undefined,
      eos: 257,
      pad: 258,
      config: { chatTemplate: 'old' },
    });
    await writeFile(join(folder, 'chat_template.jinja'), 'new');
    expect((await Tokenizer.fromFolder(folder)).config.chatTemplate).toBe('new');
    await rm(folder, { recursive: true });
    await expect(Tokenizer.fromFolder(folder)).rejects.toMatchObject({ code: 'WL_FILE_MISSING' });
  });
});
