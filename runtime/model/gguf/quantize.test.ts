import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { dequantize } from './dequantize.ts';
import { quantize } from './quantize.ts';
import { ggufBytes, ggufTensorTypes } from './tensor-types.ts';
import type { GgufTensorType } from './tensor-types.ts';

const file = new URL('../../../tests/fixtures/gguf/blocks.json', import.meta.url);
const { encoded } = JSON.parse(readFileSync(file, 'utf8')) as { encoded: { values: string; blocks: Record<string, string> } };
const types = Object.keys(ggufTensorTypes) as GgufTensorType[];

describe('gives byte for byte what the reference of ggml gives', () => {
  const values = new Float32Array(Uint8Array.fromBase64(encoded.values).buffer);
  it.each(Object.entries(encoded.blocks))('%s', (type, blocks) => {
    const expected = Uint8Array.fromBase64(blocks);
    const bytes = new Uint8Array(expected.length);
    quantize(type as GgufTensorType, values, bytes);
    expect(bytes).toEqual(expected);
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

it.each(types)('%s: no value is further off than a step, whatever the values are', (type) => {
  const block = fc.float32Array({ minLength: 256, maxLength: 256, min: -100, max: 100, noNaN: true });
  fc.assert(
    fc.property(block, (values) => {
      const bytes = new Uint8Array(ggufBytes(type, 256));
      quantize(type, values, bytes);
      const again = new Float32Array(256);
      dequantize(type, bytes, again);
      const largest = Math.max(...values.map(Math.abs));
      for (const [at, value] of values.entries())
        expect(Math.abs(again[at]! - value)).toBeLessThanOrEqual(largestError[type] * largest + 1e-6);
    }),
    { numRuns: 40, seed: 5 },
  );
});

it.each(types)('%s: zeros stay zeros', (type) => {
  const bytes = new Uint8Array(ggufBytes(type, 256));
  quantize(type, new Float32Array(256), bytes);
  const again = new Float32Array(256).fill(1);
  dequantize(type, bytes, again);
  expect(again.every((value) => value === 0)).toBe(true);
});

it('rounds bfloat16 to even, and keeps NaN and infinity', () => {
  const bytes = new Uint8Array(12);
  quantize('BF16', Float32Array.of(1, 1 + 2 ** -8, 1 + 3 * 2 ** -8, Number.NaN, Infinity, 3.4e38), bytes);
  const again = new Float32Array(6);
  dequantize('BF16', bytes, again);
  expect([...again]).toEqual([1, 1, 1 + 2 ** -6, Number.NaN, Infinity, Infinity]);
});
