import { expect, it } from 'vitest';
import { bar, curve, fit, formatCount, formatDuration, table, wrap } from './format.ts';

it.each([
  [0.4, '0s'],
  [59.4, '59s'],
  [185, '3m 05s'],
  [7620, '2h 07m'],
  [356_400, '4d 03h'],
])('%f seconds read %s', (seconds, text) => expect(formatDuration(seconds)).toBe(text));

it.each([
  [7120.4, '7,120'],
  [123_456, '123.5k'],
  [3_400_000, '3.4M'],
  [1_240_000_000, '1.2G'],
])('%f reads %s', (value, text) => expect(formatCount(value)).toBe(text));

it('draws bars in eighths of a cell and never beyond the width', () => {
  expect([bar(0, 4), bar(0.5, 4), bar(0.53125, 4), bar(1, 4), bar(7, 4)]).toEqual(['░░░░', '██░░', '██▏░', '████', '████']);
});

it('draws a falling curve, a flat one, and one with more values than cells', () => {
  expect(curve([7, 6, 5, 4, 3, 2, 1, 0], 8)).toBe('█▇▆▅▄▃▂▁');
  expect(curve([3, 3, 3], 8)).toBe('▁▁▁');
  expect(curve([8, 8, 1, 1], 2)).toBe('█▁');
  expect(curve([], 8)).toBe('');
});

it('cuts text to the width', () => expect([fit('abcdef', 4), fit('abcd', 4)]).toEqual(['abc…', 'abcd']));

it('breaks lines between words, and words that are too long anywhere', () => {
  expect(wrap(' one  two\nthree ', 7)).toEqual(['one two', 'three']);
  expect(wrap('ab abcdefgh c', 4)).toEqual(['ab', 'abcd', 'efgh', 'c']);
  expect(wrap(' ', 4)).toEqual([]);
});

it('lines up columns', () => {
  expect(
    table([
      ['NAME', 'STATE'],
      ['moby', 'Running'],
      ['a-longer-name', ''],
    ]),
  ).toBe('NAME           STATE\nmoby           Running\na-longer-name\n');
});
