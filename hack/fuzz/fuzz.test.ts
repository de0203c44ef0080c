import { describe, expect, it } from 'vitest';
import { fuzz } from './fuzz.ts';
import { Chance, mutated } from './mutate.ts';
import { targets } from './targets.ts';

describe('some hundred wrong inputs are refused by a code, and nothing else happens', () => {
  it.each(Object.entries(targets))('%s', async (name, open) => {
    const target = await open();
    try {
      const inputs = name === 'http' ? 60 : name === 'tar' ? 100 : 300;
      const result = await fuzz(target, { inputs, isOver: () => false, seed: 2026 });
      expect(result.finding).toBeUndefined();
      expect(result.inputs).toBe(inputs);
      expect(result.taken).toBeGreaterThanOrEqual(target.seeds.length);
    } finally {
      await target.close();
    }
  });
});

it('keeps the input at which something else happens', async () => {
  const seeds = [Buffer.from('fine'), Buffer.from('also fine')];
  const feed = async (input: Uint8Array) => {
    if (input.length > 40) throw new RangeError('out of bounds');
    return true;
  };
  const result = await fuzz({ seeds, feed, close: async () => {} }, { inputs: 10_000, isOver: () => false, seed: 1 });
  expect(result.finding?.thrown).toEqual(new RangeError('out of bounds'));
  expect(result.finding?.input.length).toBeGreaterThan(40);
});

it('does not take a seed that is refused for a right input', async () => {
  const target = { seeds: [Buffer.from('x')], feed: async () => false, close: async () => {} };
  const { finding } = await fuzz(target, { inputs: 1, isOver: () => false, seed: 1 });
  expect(finding?.thrown).toEqual(new Error('a seed was refused'));
});

it('makes the same inputs for the same seed, and others for another', () => {
  const seeds = [Buffer.from('{"a": [1, 2, 3]}'), Buffer.from('[null]')];
  const make = (seed: number) =>
    Array.from({ length: 50 }, (_, at) => Buffer.from(mutated(seeds, new Chance(seed + 1000 * at))).toString('hex'));
  expect(make(1)).toEqual(make(1));
  expect(make(1)).not.toEqual(make(2));
});
