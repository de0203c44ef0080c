import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { dequantize } from './dequantize.ts';
import { ggufTensorTypes } from './tensor-types.ts';
import type { GgufTensorType } from './tensor-types.ts';

interface Fixture {
  readonly blocks: string;
  readonly values: string;
}

const file = new URL('../../../tests/fixtures/gguf/blocks.json', import.meta.url);
const { decoded } = JSON.parse(readFileSync(file, 'utf8')) as { decoded: Record<string, Fixture> };
const types = Object.keys(ggufTensorTypes) as GgufTensorType[];

describe('gives bit for bit what ggml gives', () => {
  it.each(types.filter((type) => type !== 'F32'))('%s', (type) => {
    const fixture = decoded[type];
    if (!fixture) throw new Error(`no fixture for ${type}`);
    const expected = Uint8Array.fromBase64(fixture.values);
    const values = new Float32Array(expected.length / 4);
    dequantize(type, Uint8Array.fromBase64(fixture.blocks), values);
    expect(new Uint32Array(values.buffer)).toEqual(new Uint32Array(expected.buffer));
  });
});

it('takes blocks anywhere in memory, odd places included', () => {
  const { blocks = '', values = '' } = decoded['Q4_K'] ?? {};
  const bytes = Uint8Array.fromBase64(blocks);
  const shifted = new Uint8Array(bytes.length + 1).subarray(1);
  shifted.set(bytes);
  const out = new Float32Array((bytes.length / 144) * 256);
  dequantize('Q4_K', shifted, out);
  expect(out).toEqual(new Float32Array(Uint8Array.fromBase64(values).buffer));
});
