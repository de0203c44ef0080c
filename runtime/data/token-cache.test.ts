import { mkdir, mkdtemp, readFile, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Tokenizer, trainTokenizer } from '#runtime/tokenizer/main.ts';
import { resolveData } from './source.ts';
import { openTokens } from './token-cache.ts';
import type { TokenData } from './token-cache.ts';

let root: string;
let folders = 0;
let tokenizer: Tokenizer;
const text = 'It was the best of times, it was the worst of times — 鯨.\n'.repeat(2000);

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'wl-cache-'));
  tokenizer = await trainTokenizer([text], { vocabularySize: 300 });
});
afterAll(() => rm(root, { recursive: true }));

async function newFolder(): Promise<string> {
  const folder = join(root, `${folders++}`);
  await mkdir(folder);
  return folder;
}

async function source(files: Record<string, string>, field?: string) {
  const folder = await newFolder();
  for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content);
  return await resolveData(folder, { baseDir: root, field });
}

/** All tokens, and closes the store. */
function read({ store, tokens }: TokenData): number[] {
  const ids = new Int32Array(tokens);
  store.read(0, ids);
  store.close();
  return [...ids];
}

describe('the token cache', () => {
  it('holds the ids of each document and the end-of-text token after it', async () => {
    const data = await openTokens(
      await source({ 'a.txt': text, 'b.jsonl': '{"text":"one"}\n{"text":"two<|endoftext|>"}' }),
      tokenizer,
      {
        cacheDir: await newFolder(),
      },
    );
    expect(data).toMatchObject({ documents: 3, fromCache: false });
    expect(read(data)).toEqual([...tokenizer.encode(text), 0, ...tokenizer.encode('one'), 0, ...tokenizer.encode('two'), 0]);
  });

  it('is used again, without reading progress, and from anywhere with equal content', async () => {
    const cacheDir = await newFolder();
    const shares: number[] = [];
    const first = await openTokens(await source({ 'a.txt': text }), tokenizer, {
      cacheDir,
      onProgress: (share) => shares.push(share),
    });
    expect(shares.length).toBeGreaterThan(3);
    expect(shares).toEqual(shares.toSorted((a, b) => a - b));
    expect(shares.at(-1)).toBe(1);
    shares.length = 0;
    const again = await openTokens(await source({ 'renamed.txt': text }), tokenizer, {
      cacheDir,
      onProgress: (share) => shares.push(share),
    });
    expect(again).toMatchObject({ fromCache: true, key: first.key, tokens: first.tokens });
    expect(shares).toEqual([]);
    expect(read(again)).toEqual(read(first));
    expect(await readdir(cacheDir)).toEqual([first.key]);
  });

  it('has another key for another content, tokenizer or field', async () => {
    const cacheDir = await newFolder();
    const lines = '{"text":"one","body":"two"}';
    const other = await trainTokenizer([text], { vocabularySize: 270 });
    const keys: string[] = [];
    for (const [files, using, field] of [
      [{ 'a.jsonl': lines }, tokenizer, 'text'],
      [{ 'a.jsonl': lines }, tokenizer, 'body'],
      [{ 'a.jsonl': lines }, other, 'text'],
      [{ 'a.jsonl': `${lines}\n` }, tokenizer, 'text'],
      [{ 'a.txt': lines }, tokenizer, 'text'],
    ] as const) {
      const data = await openTokens(await source(files, field), using, { cacheDir });
      data.store.close();
      keys.push(data.key);
    }
    expect(new Set(keys).size).toBe(5);
  });

  it('is made anew when any byte of it changed, is lost, or is too much', async () => {
    const cacheDir = await newFolder();
    const from = await source({ 'a.txt': text.slice(0, 3000) });
    const first = await openTokens(from, tokenizer, { cacheDir });
    const ids = read(first);
    for (const name of ['tokens.bin', 'meta.json']) {
      const path = join(cacheDir, first.key, name);
      const good = await readFile(path);
      const damaged: Buffer[] = [Buffer.alloc(0), good.subarray(0, -3), Buffer.concat([good, Buffer.from('00')])];
      for (let bit = 0; bit < good.length * 8; bit += 211) {
        const flipped = Buffer.from(good);
        flipped[bit >> 3]! ^= 1 << (bit & 7);
        damaged.push(flipped);
      }
      for (const bytes of damaged) {
        await writeFile(path, bytes);
        const again = await openTokens(from, tokenizer, { cacheDir });
        expect(again.fromCache).toBe(false);
        expect(read(again)).toEqual(ids);
        expect(await readFile(path)).toEqual(good);
      }
      await rm(path);
      expect(read(await openTokens(from, tokenizer, { cacheDir }))).toEqual(ids);
    }
    expect(await readdir(cacheDir)).toEqual([first.key]);
  });

  it('leaves nothing behind when the data is refused, and clears away what a killed process left long ago', async () => {
    const cacheDir = await newFolder();
    const bad = await source({ 'a.txt': text, 'b.jsonl': '{"text":5}' });
    await expect(openTokens(bad, tokenizer, { cacheDir })).rejects.toMatchObject({ code: 'WL_DATA_INVALID' });
    expect(await readdir(cacheDir)).toEqual([]);
    const good = await source({ 'a.txt': text });
    const { key, store } = await openTokens(good, tokenizer, { cacheDir });
    store.close();
    await rm(join(cacheDir, key), { recursive: true });
    const [old, young] = [join(cacheDir, `${key}.partial-old`), join(cacheDir, `${key}.partial-young`)];
    await Promise.all([mkdir(old), mkdir(young)]);
    await utimes(old, new Date(0), new Date(0));
    (await openTokens(good, tokenizer, { cacheDir })).store.close();
    expect((await readdir(cacheDir)).sort()).toEqual([key, `${key}.partial-young`]);
  });

  it('two openings at the same time end with one whole cache', async () => {
    const cacheDir = await newFolder();
    const from = await source({ 'a.txt': text });
    const both = await Promise.all([1, 2].map(() => openTokens(from, tokenizer, { cacheDir })));
    expect(read(both[0]!)).toEqual(read(both[1]!));
    expect(await readdir(cacheDir)).toEqual([both[0]!.key]);
  });

  it('takes four bytes per id for vocabularies beyond 65,536', async () => {
    const file = JSON.parse(tokenizer.toJson()) as { added_tokens: unknown[] };
    file.added_tokens.push({ id: 70_000, content: '<far>', special: true, normalized: false });
    const wide = Tokenizer.fromJson(JSON.stringify(file));
    const data = await openTokens(await source({ 'a.txt': 'a<far>b' }), wide, { cacheDir: await newFolder() });
    expect(read(data)).toEqual([...wide.encode('a'), 70_000, ...wide.encode('b'), 0]);
  });

  it('refuses several documents when the tokenizer names no end-of-text token, and texts without a word', async () => {
    const file = JSON.parse(tokenizer.toJson()) as { added_tokens: unknown[] };
    const endless = Tokenizer.fromJson(JSON.stringify({ ...file, added_tokens: [] }));
    const cacheDir = await newFolder();
    const one = await openTokens(await source({ 'a.txt': 'one' }), endless, { cacheDir });
    expect(read(one)).toEqual(endless.encode('one'));
    await expect(openTokens(await source({ 'a.txt': 'one', 'b.txt': 'two' }), endless, { cacheDir })).rejects.toMatchObject({
      code: 'WL_TOKENIZER_INVALID',
      message: expect.stringContaining('end-of-text'),
    });
    await expect(openTokens(await source({ 'a.jsonl': '\n{"text":""}\n' }), tokenizer, { cacheDir })).rejects.toMatchObject({
      code: 'WL_DATA_EMPTY',
    });
  });

  it('a read beyond either end is a RangeError', async () => {
    const { store, tokens } = await openTokens(await source({ 'a.txt': 'one' }), tokenizer, { cacheDir: await newFolder() });
    expect(() => store.read(tokens, new Int32Array(1))).toThrow(RangeError);
    expect(() => store.read(-1, new Int32Array(1))).toThrow(RangeError);
    store.close();
    store.close();
  });
});
