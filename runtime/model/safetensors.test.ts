import fc from 'fast-check';
import { expect, it } from 'vitest';
import { WindlassError } from '#runtime/api/errors.ts';
import { headerLength, parseHeader, safetensorsHeader } from './safetensors.ts';

const dtypes = ['F32', 'F16', 'BF16', 'I64', 'U8'] as const;
const bytesOf = { F32: 4, F16: 2, BF16: 2, I64: 8, U8: 1 };
const tensors = fc.uniqueArray(
  fc.record({
    name: fc
      .string({ minLength: 1, maxLength: 12, unit: 'binary' })
      .filter((name) => name !== '__metadata__' && name.isWellFormed()),
    dtype: fc.constantFrom(...dtypes),
    shape: fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 4 }),
  }),
  { selector: ({ name }) => name, maxLength: 6 },
);
type Tensors = readonly { name: string; dtype: keyof typeof bytesOf; shape: readonly number[] }[];

function dataBytes(list: Tensors): number {
  return list.reduce((sum, { dtype, shape }) => sum + shape.reduce((size, dim) => size * dim, bytesOf[dtype]), 0);
}

function parse(header: Uint8Array, fileBytes: number) {
  const length = headerLength(header.subarray(0, 8), fileBytes, 'x.safetensors');
  return parseHeader(header.subarray(8, 8 + length), fileBytes, 'x.safetensors');
}

function parseText(json: string, dataSize: number) {
  const text = new TextEncoder().encode(json);
  return parseHeader(text, 8 + text.length + dataSize, 'x.safetensors');
}

it('reads back every header that it writes, aligned to 8 bytes', () => {
  fc.assert(
    fc.property(tensors, (list) => {
      const header = safetensorsHeader(list, { format: 'pt' });
      expect(header.length % 8).toBe(0);
      const { tensors: read, metadata } = parse(header, header.length + dataBytes(list));
      expect(metadata).toEqual({ format: 'pt' });
      expect([...read.values()].map(({ name, dtype, shape }) => ({ name, dtype, shape })).sort(byName)).toEqual(
        [...list].sort(byName),
      );
      for (const { begin, end } of read.values()) expect(begin <= end && end <= header.length + dataBytes(list)).toBe(true);
    }),
  );
});

function byName(a: { name: string }, b: { name: string }): number {
  return a.name < b.name ? -1 : 1;
}

it('answers any mutated header with tensors inside the file or with WL_SAFETENSORS_INVALID, never otherwise', () => {
  const mutation = fc.record({ at: fc.nat(), byte: fc.nat({ max: 255 }) });
  fc.assert(
    fc.property(tensors, fc.array(mutation, { minLength: 1, maxLength: 4 }), fc.nat({ max: 64 }), (list, mutations, cut) => {
      const header = safetensorsHeader(list).slice();
      for (const { at, byte } of mutations) header[at % header.length] = byte;
      const short = header.subarray(0, header.length - Math.min(cut, header.length));
      const fileBytes = short.length + dataBytes(list);
      try {
        for (const { begin, end } of parse(short, fileBytes).tensors.values()) expect(begin >= 8 && end <= fileBytes).toBe(true);
      } catch (error) {
        expect(error).toBeInstanceOf(WindlassError);
        expect((error as WindlassError).code).toBe('WL_SAFETENSORS_INVALID');
      }
    }),
    { numRuns: 2000 },
  );
});

it('refuses a header length beyond the file before anything of that size is allocated', () => {
  const start = new Uint8Array(8);
  new DataView(start.buffer).setBigUint64(0, 99_000_000n, true);
  expect(() => headerLength(start, 1000, 'f')).toThrowErrorMatchingInlineSnapshot(
    `[WindlassError: f: the header length 99000000 exceeds the file of 1000 bytes]`,
  );
  new DataView(start.buffer).setBigUint64(0, 2n ** 63n, true);
  expect(() => headerLength(start, 1000, 'f')).toThrowErrorMatchingInlineSnapshot(
    `[WindlassError: f: the header length 9223372036854775808 exceeds 100000000]`,
  );
  expect(() => headerLength(start.subarray(0, 3), 3, 'f')).toThrowErrorMatchingInlineSnapshot(
    `[WindlassError: f: it has 3 bytes, fewer than the 8 of the header length]`,
  );
});

it.each([
  [
    'an overlap',
    '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}',
    12,
  ],
  ['a gap', '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}', 12],
  ['bytes after the last tensor', '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 5],
  ['a tensor beyond the file', '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', 4],
  ['a size that is not of its shape', '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}', 4],
  ['a size that overflows', '{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}', 4],
  [
    'a repeated tensor',
    '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"\\u0061":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
    4,
  ],
  ['a repeated key', '{"a":{"dtype":"F32","dtype":"F16","shape":[2],"data_offsets":[0,4]}}', 4],
  ['an unknown dtype', '{"a":{"dtype":"toString","shape":[1],"data_offsets":[0,4]}}', 4],
  ['an unknown key', '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"stride":1}}', 4],
  ['a negative dim', '{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', 4],
  ['metadata that is not text', '{"__metadata__":{"step":3}}', 0],
  ['an array', '[]', 0],
  ['leading space', ' {}', 0],
  ['no JSON', '{', 0],
])('refuses %s', (_, json, dataSize) => {
  expect(() => parseText(json, dataSize)).toThrow(/^x\.safetensors: /);
});

it('takes a tensor named __proto__ for a tensor', () => {
  const { tensors: read } = parseText('{"__proto__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1);
  expect([...read.keys()]).toEqual(['__proto__']);
});
