import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { Series } from './recording.ts';
import { formatRecording, notation, parsePage, parseRecording } from './recording.ts';

it('reads a page of Prometheus text, labels with quotes and braces included', () => {
  const page = [
    '# HELP a_total What it is.',
    '# TYPE a_total counter',
    'a_total 3',
    'b{path="C:\\\\x",why="\\"{no}\\", he said"} 0.5',
    'c_bucket{le="+Inf"} +Inf',
    '',
  ].join('\n');
  expect(parsePage(page)).toEqual([
    { name: 'a_total', labels: {}, value: 3 },
    { name: 'b', labels: { path: 'C:\\x', why: '"{no}", he said' }, value: 0.5 },
    { name: 'c_bucket', labels: { le: '+Inf' }, value: Infinity },
  ]);
  expect(() => parsePage('a_total three four')).toThrow('not a line of a metrics page: a_total three four');
});

it('writes what repeats once, and marks the first reading without a value', () => {
  expect(notation([1, 1, 1, undefined, undefined, 2])).toBe('1x2 _x2 2');
  expect(notation([1, 1, undefined, undefined, undefined, 2], 'stale')).toBe('1x1 stale _x2 2');
  expect(notation([undefined, 1], 'stale')).toBe('_ 1');
});

it('reads back every recording that it wrote', () => {
  const value = fc.option(fc.oneof(fc.integer(), fc.double({ noNaN: true }), fc.constant(0)), { nil: undefined });
  const series = fc.record({
    name: fc.stringMatching(/^[a-z_:]{1,12}$/),
    labels: fc.dictionary(fc.stringMatching(/^[a-z_]{1,8}$/), fc.string({ unit: 'grapheme-ascii' }), { noNullPrototype: true }),
    values: fc.array(value, { minLength: 4, maxLength: 12 }),
  });
  const sorted = (all: readonly Series[]) =>
    all
      .map((one) => JSON.stringify([one.name, Object.entries(one.labels).toSorted(([a], [b]) => (a < b ? -1 : 1)), one.values]))
      .toSorted();
  fc.assert(
    fc.property(fc.array(series, { maxLength: 5 }), (made) => {
      // Text has one zero.
      const all = made.map((one) => ({ ...one, values: one.values.map((number) => (number === 0 ? 0 : number)) }));
      const read = parseRecording(formatRecording({ intervalSeconds: 5, series: all }));
      expect(read.intervalSeconds).toBe(5);
      expect(sorted(read.series)).toEqual(sorted(all));
    }),
  );
});
