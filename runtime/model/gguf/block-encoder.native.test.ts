import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { BlockEncoder } from './block-encoder.ts';
import { dequantize } from './dequantize.ts';
import { ggufTensorTypes } from './tensor-types.ts';
import type { GgufTensorType } from './tensor-types.ts';

const file = new URL('../../../tests/fixtures/gguf/blocks.json', import.meta.url);
const { encoded } = JSON.parse(readFileSync(file, 'utf8')) as { encoded: { values: string; blocks: Record<string, string> } };
const encoder = new BlockEncoder();
afterAll(() => encoder.close());

const types = Object.keys(ggufTensorTypes) as GgufTensorType[];

describe('gives byte for byte what the reference of ggml gives', () => {
  const values = new Float32Array(Uint8Array.fromBase64(encoded.values).buffer);
  it.each(Object.entries(encoded.blocks))('%s', async (type, blocks) => {
    expect(await encoder.encode(type as GgufTensorType, values)).toEqual(Uint8Array.fromBase64(blocks));
  });
});

/** Half a step of the coarsest run, as a part of the largest magnitude in it: what rounding alone may cost, and the scale's own rounding. */
const largestError: Readonly<Record<GgufTensorType, number>> = {
  F32: 0,
  F16: 2 ** -11,
  BF16: 2 ** -8,
  Q4_0: 1 / 8,
  Q4_1: 1 / 14,
  Q5_0: 1 / 16,
  Q5_1: 1 / 30,
  Q8_0: 1 / 254 + 2 ** -11,
  Q4_K: 1 / 7,
  Q5_K: 1 / 14,
  Q6_K: 1 / 16,
};

it.each(types)('%s: no value is further off than a step, whatever the values are', async (type) => {
  const block = fc.float32Array({ minLength: 256, maxLength: 256, min: -100, max: 100, noNaN: true });
  await fc.assert(
    fc.asyncProperty(block, async (values) => {
      const bytes = await encoder.encode(type, values);
      const again = new Float32Array(256);
      dequantize(type, bytes, again);
      const largest = Math.max(...values.map(Math.abs));
      for (const [at, value] of values.entries())
        expect(Math.abs(again[at]! - value)).toBeLessThanOrEqual(largestError[type] * largest + 1e-6);
    }),
    { numRuns: 40, seed: 5 },
  );
});

it.each(types)('%s: zeros stay zeros', async (type) => {
  const bytes = await encoder.encode(type, new Float32Array(256));
  const again = new Float32Array(256).fill(1);
  dequantize(type, bytes, again);
  expect(again.every((value) => value === 0)).toBe(true);
});

it('rounds bfloat16 to even, and keeps NaN and infinity', async () => {
  const bytes = await encoder.encode('BF16', Float32Array.of(1, 1 + 2 ** -8, 1 + 3 * 2 ** -8, Number.NaN, Infinity, 3.4e38));
  const again = new Float32Array(6);
  dequantize('BF16', bytes, again);
  expect([...again]).toEqual([1, 1, 1 + 2 ** -6, Number.NaN, Infinity, Infinity]);
});

it('refuses to make blocks of what is not finite', async () => {
  const broken = new BlockEncoder();
  await expect(broken.encode('Q4_K', new Float32Array(256).fill(Number.NaN))).rejects.toThrow('a value is not finite');
  broken.close();
});
