import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { sampleStrings } from './sample-strings.ts';
import { trainTokenizer } from './train-tokenizer.ts';

const texts = sampleStrings(1500, 21);

describe('training a tokenizer', () => {
  it('gives special tokens the first ids and reaches the size asked for', async () => {
    const tokenizer = await trainTokenizer(texts, { vocabularySize: 1000, specialTokens: ['<|eot|>', '<|user|>'] });
    expect(tokenizer.vocabularySize).toBe(1000);
    expect([tokenizer.tokenId('<|eot|>'), tokenizer.tokenId('<|user|>'), tokenizer.eos]).toEqual([0, 1, 0]);
    expect(tokenizer.decode([0, 1], { skipSpecial: true })).toBe('');
  });

  it('equal texts give an equal tokenizer, in parts of any size, from a list or a stream', async () => {
    const whole = await trainTokenizer(texts, { vocabularySize: 700 });
    async function* parts() {
      for (const text of texts) {
        for (let at = 0; at < text.length; at += 5) yield { text: text.slice(at, at + 5), last: false };
        await nextTurn();
        yield { text: '', last: true };
      }
    }
    expect((await trainTokenizer(parts(), { vocabularySize: 700 })).digest).toBe(whole.digest);
    expect((await trainTokenizer(texts.toReversed(), { vocabularySize: 700 })).vocabularySize).toBe(700);
  });

  it('a larger vocabulary continues the merges of a smaller one', async () => {
    const small = await trainTokenizer(texts, { vocabularySize: 400 });
    const large = await trainTokenizer(texts, { vocabularySize: 800 });
    for (let id = 0; id < 400; id++) expect(large.token(id)).toEqual(small.token(id));
  });

  it('of equally frequent pairs the one with the lowest ids comes first', async () => {
    const tokenizer = await trainTokenizer(['zy ba'], { vocabularySize: 259 });
    expect(tokenizer.decode([257])).toBe('ba');
    expect(tokenizer.decode([258])).toBe('zy');
  });

  it('a small text gives a smaller vocabulary than asked for', async () => {
    const tokenizer = await trainTokenizer(['abab'], { vocabularySize: 4096 });
    expect(tokenizer.vocabularySize).toBe(259);
    expect(tokenizer.encode('abab')).toEqual([258]);
  });

  it('reports progress that only grows and ends at 1, and lets the event loop turn', async () => {
    const shares: number[] = [];
    let turns = 0;
    let running = true;
    const count = (): void => {
      turns++;
      if (running) setImmediate(count);
    };
    setImmediate(count);
    await trainTokenizer(sampleStrings(20_000, 22), { vocabularySize: 3000, onProgress: (share) => shares.push(share) });
    running = false;
    expect(turns).toBeGreaterThan(10);
    expect(shares.length).toBeGreaterThan(5);
    expect(shares).toEqual(shares.toSorted((a, b) => a - b));
    expect(shares.at(-1)).toBe(1);
  });

  it('refuses a vocabulary smaller than the bytes, naming the least size', async () => {
    await expect(trainTokenizer(texts, { vocabularySize: 256 })).rejects.toMatchObject({
      code: 'WL_TOKENIZER_INVALID',
      message: expect.stringContaining('at least 257'),
    });
  });

  it('refuses to learn from nothing', async () => {
    await expect(trainTokenizer(['', ''], { vocabularySize: 300 })).rejects.toMatchObject({ code: 'WL_DATA_EMPTY' });
  });

  it('takes a word of a million letters', async () => {
    const tokenizer = await trainTokenizer(['ab'.repeat(500_000)], { vocabularySize: 262 });
    expect(tokenizer.decode([257])).toBe('ab');
    expect(tokenizer.encode('ab'.repeat(16))).toHaveLength(1);
  });
});
