import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { WindlassError } from '#runtime/api/errors.ts';
import { arrayNumbers, arrayTexts, parseGgufHeader } from './header.ts';
import type { GgufArray, GgufHeader } from './header.ts';
import { array, everyType, rawGguf, string, u32, u64, value } from './testing.ts';
import type { RawGguf, RawTensor } from './testing.ts';

function parsed(bytes: Uint8Array): GgufHeader {
  const header = parseGgufHeader(bytes, bytes.length, 'm.gguf');
  if (!header) throw new Error('more bytes are wanted than there are');
  return header;
}

function faultOf(parse: () => unknown): unknown {
  try {
    parse();
  } catch (error) {
    if (error instanceof WindlassError) return `${error.code} ${error.message}`;
    throw error;
  }
  return 'no fault';
}

const tensor: RawTensor = { name: 't', dims: [32, 2], type: 2, offset: 0 };
const withTensors = (...tensors: Partial<RawTensor>[]): RawGguf => ({
  tensors: tensors.map((each, index) => ({ ...tensor, name: `t${index}`, ...each })),
  dataBytes: 4096,
});

it('reads every type of metadata and the place of a tensor of every type', () => {
  const bytes = rawGguf(everyType());
  const { version, metadata, tensors, dataBegin } = parsed(bytes);
  expect([version, dataBegin % 32, tensors.size]).toEqual([3, 0, 11]);
  expect(metadata.get('scalar.5')).toMatchObject({ type: 'i32', value: 0x41414141 });
  expect(metadata.get('scalar.7')).toMatchObject({ type: 'bool', value: true });
  expect(metadata.get('scalar.10')).toMatchObject({ type: 'u64', value: 0x4141414141414141n });
  expect(metadata.get('general.name')).toMatchObject({ type: 'string', value: 'every type' });
  expect([...arrayTexts(bytes, metadata.get('array.8') as GgufArray, 'm.gguf')]).toEqual(['', 'é', 'three']);
  expect([...arrayNumbers(bytes, metadata.get('array.5') as GgufArray, 'm.gguf')]).toEqual([0x01010101, 0x01010101, 0x01010101]);
  expect(tensors.get('t.Q4_K')).toMatchObject({ type: 'Q4_K', shape: [3, 512] });
  for (const { begin, end } of tensors.values()) expect([begin % 32, end <= bytes.length]).toEqual([0, true]);
});

it('reads version 2, which differs in nothing that is read', () => {
  expect(parsed(rawGguf({ ...everyType(), version: 2 })).tensors).toEqual(parsed(rawGguf(everyType())).tensors);
});

it('asks for more bytes as long as the head is cut, and never once it is whole', () => {
  const bytes = rawGguf(everyType());
  const { dataBegin } = parsed(bytes);
  for (let length = 0; length < dataBegin - 32; length += 1) {
    expect(parseGgufHeader(bytes.subarray(0, length), bytes.length, 'm.gguf'), `${length} bytes`).toBeUndefined();
  }
  expect(parseGgufHeader(bytes.subarray(0, dataBegin), bytes.length, 'm.gguf')?.tensors.size).toBe(11);
});

const key = (entry: ReturnType<typeof value.u32>, name = 'k'): RawGguf => ({ entries: [[name, entry]] });

const bad: readonly (readonly [string, RawGguf, string])[] = [
  ['another magic', { magic: 'GGML' }, 'does not begin with GGUF'],
  ['version 1', { version: 1 }, 'version 1'],
  ['big-endian numbers', { version: 0x03000000 }, 'big-endian'],
  ['a version to come', { version: 4 }, 'version 4'],
  ['absurdly many tensors', { tensorCount: 2n ** 63n }, 'which no file reaches'],
  ['more tensors than the limit', { tensorCount: 70_000 }, 'more than 65536'],
  ['more tensors than the file can hold', { tensorCount: 60_000 }, 'need more than'],
  ['more metadata than the file can hold', { entryCount: 60_000 }, 'need more than'],
  [
    'a key twice',
    {
      entries: [
        ['k', value.u32(1)],
        ['k', value.u32(2)],
      ],
    },
    '"k" stands twice',
  ],
  ['an empty key', key(value.u32(1), ''), 'is empty'],
  ['a key that is not UTF-8', { entries: [[Uint8Array.of(0xff), value.u32(1)]] }, 'not UTF-8'],
  ['a key that is too long', key(value.u32(1), 'k'.repeat(65_536)), 'more than 65535'],
  ['an unknown type of value', key({ type: 13, bytes: u32(0) }), 'unknown type 13'],
  ['a flag that is neither', key(value.bool(2)), 'a flag of the value 2'],
  ['a text that is not UTF-8', key(value.string(Uint8Array.of(0xc0, 0x80))), 'not UTF-8'],
  ['a text beyond the file', key({ type: 8, bytes: u64(1000) }), 'in the middle of its head'],
  ['a text with an absurd length', key({ type: 8, bytes: u64(2n ** 62n) }), 'which no file reaches'],
  ['an array of arrays', key(array(9, 1, new Uint8Array(64))), 'array of arrays'],
  ['an array of unknown items', key(array(77, 1, new Uint8Array(64))), 'unknown type 77'],
  ['an array with an absurd count', key(array(4, 2n ** 40n, new Uint8Array(8))), 'need more than'],
  ['an array of strings with an absurd count', key(array(8, 2 ** 32, new Uint8Array(8))), 'need more than'],
  ['an array whose strings leave the file', key(array(8, 1, u64(5000))), 'in the middle of its head'],
  ['an alignment of 0', key(value.u32(0), 'general.alignment'), 'general.alignment'],
  ['an alignment of 24', key(value.u32(24), 'general.alignment'), 'general.alignment'],
  ['an alignment that is a text', key(value.string('32'), 'general.alignment'), 'general.alignment'],
  ['a tensor twice', withTensors({ name: 't' }, { name: 't', offset: 64 }), '"t" stands twice'],
  ['a tensor without a name', withTensors({ name: '' }), 'is empty'],
  ['a name that is too long', withTensors({ name: 'n'.repeat(257) }), 'more than 256'],
  ['no dims', withTensors({ dims: [] }), '0 dims'],
  ['five dims', withTensors({ dims: [32, 1, 1, 1, 1] }), '5 dims'],
  ['2^32 - 1 dims', withTensors({ dimCount: 2 ** 32 - 1 }), '4294967295 dims'],
  ['a dim of 0', withTensors({ dims: [32, 0] }), 'dim 1 is 0'],
  ['dims whose product overflows 64 bits', withTensors({ dims: [2 ** 40, 2 ** 40] }), 'more than the file can hold'],
  ['dims whose product is 0 in 64 bits', withTensors({ dims: [2n ** 32n, 2n ** 32n] }), 'more than the file can hold'],
  ['a huge dim', withTensors({ dims: [2n ** 63n] }), 'which no file reaches'],
  ['rows that are no whole blocks', withTensors({ dims: [33, 2] }), 'no whole blocks of Q4_0'],
  ['an offset off the alignment', withTensors({ offset: 8 }), 'no multiple of the alignment'],
  ['an offset beyond the file', withTensors({ offset: 2 ** 40 }), 'the file at'],
  ['an absurd offset', withTensors({ offset: 2n ** 63n }), 'which no file reaches'],
  ['a tensor that ends beyond the file', withTensors({ dims: [32, 100], offset: 3200 }), 'ends at byte'],
  ['tensors that overlap', withTensors({ dims: [32, 4] }, { offset: 64 }), 'overlaps tensor "t0"'],
  ['one tensor over another', withTensors({}, {}), 'overlaps tensor "t0"'],
  [
    'tensors that together exceed the file',
    withTensors({ dims: [32, 200] }, { dims: [32, 200], offset: 3616 }),
    'its tensors need over',
  ],
];

describe('refuses with reason and place', () => {
  it.each(bad)('%s', (_, raw, reason) => {
    const bytes = rawGguf(raw);
    const fault = faultOf(() => parsed(bytes));
    expect(fault).toMatch(/^WL_GGUF_INVALID m\.gguf: .* \(byte \d+\)$/);
    expect(fault).toContain(reason);
  });

  it('types that are known but not supported, and those that nobody knows', () => {
    const fault = (type: number) => faultOf(() => parsed(rawGguf(withTensors({ type, dims: [256] }))));
    expect(fault(10)).toMatchInlineSnapshot(
      `"WL_MODEL_INVALID m.gguf: tensor "t0" is of type Q2_K; supported are F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K"`,
    );
    expect(fault(4000)).toContain('is of type 4000, which is unknown');
  });

  it('a file cut anywhere in its head', () => {
    const bytes = rawGguf(everyType());
    const { dataBegin } = parsed(bytes);
    for (let length = 0; length < dataBegin - 32; length += 1) {
      const fault = faultOf(() => parsed(bytes.subarray(0, length)));
      expect(fault, `${length} bytes`).toMatch(/^WL_GGUF_INVALID/);
    }
  });
});

it('reads or refuses any bytes: never another error, never a place outside the file', () => {
  const whole = rawGguf(everyType());
  const { dataBegin } = parsed(whole);
  const edit = fc.record({ at: fc.nat(dataBegin - 1), bytes: fc.uint8Array({ minLength: 1, maxLength: 9 }) });
  fc.assert(
    fc.property(fc.array(edit, { minLength: 1, maxLength: 4 }), fc.nat(whole.length), (edits, cut) => {
      const bytes = whole.slice(0, cut % 4 === 0 ? cut : whole.length);
      for (const { at, bytes: patch } of edits) if (at + patch.length <= bytes.length) bytes.set(patch, at);
      let header: GgufHeader;
      try {
        header = parsed(bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(WindlassError);
        return;
      }
      for (const { begin, end, shape } of header.tensors.values()) {
        expect(begin >= header.dataBegin && end <= bytes.length && end > begin).toBe(true);
        expect(shape.every((dim) => Number.isSafeInteger(dim) && dim > 0)).toBe(true);
      }
    }),
    { numRuns: 3000, seed: 7 },
  );
});

it('counts bytes and not characters', () => {
  const bytes = rawGguf({ entries: [['k', { type: 8, bytes: string('äöü') }]] });
  expect(parsed(bytes).metadata.get('k')).toMatchObject({ type: 'string', value: 'äöü' });
});
