// The operation table parses into what the generator needs, and a slip in it is an error rather than wrong code.
import { expect, test } from 'vitest';
import { opTable, parseOp } from './op-table.ts';

test('forms become dtype, access, optionality and dims', () => {
  const op = parseOp('demo', {
    doc: 'y may be x',
    args: [
      ['x', 'in f32 ...M K'],
      ['bias', 'in? f32 K'],
      ['y', 'out f32 ...M K'],
      ['total', 'inout i32 1'],
      ['length', 'i64'],
      ['spans', 'i64'],
    ],
    needs: ['K >= 2'],
  });
  expect(op.tensors[0]).toEqual({
    kind: 'tensor',
    name: 'x',
    dtype: 'f32',
    access: 'in',
    optional: false,
    folds: true,
    dims: [{ symbol: 'M' }, { symbol: 'K' }],
  });
  expect(op.tensors[1]).toMatchObject({ optional: true, folds: false });
  expect(op.tensors[3]).toMatchObject({ access: 'inout', dtype: 'i32', dims: [{ size: 1 }] });
  expect(op.symbols).toEqual(['M', 'K']);
  expect(op.aliases).toEqual([['y', 'x']]);
  expect(op.needs).toEqual([
    'length >= 1',
    'M % length == 0',
    'spans >= 1',
    'spans <= 8',
    '(spans & (spans - 1)) == 0',
    'K >= 2',
  ]);
});

test('a tensor that is f32 or bf16 is a real one', () => {
  const op = parseOp('demo', { doc: '', args: [['x', 'in f32|bf16 ...M K']] });
  expect(op.tensors[0]).toMatchObject({ name: 'x', dtype: 'real', access: 'in' });
});

test.each([
  ['in f64 M', "demo: argument x has the unknown form 'in f64 M'"],
  ['f16', "demo: argument x has the unknown form 'f16'"],
])('the form %s is refused', (form, message) => {
  expect(() => parseOp('demo', { doc: '', args: [['x', form]] })).toThrow(message);
});

test('a doc that lets a tensor be one that does not exist is refused', () => {
  expect(() => parseOp('demo', { doc: 'y may be z', args: [['y', 'out f32 M']] })).toThrow('demo: the doc says that y may be z');
});

test('a condition on a name that is neither dim nor scalar is refused', () => {
  expect(() => parseOp('demo', { doc: '', args: [['y', 'out f32 M']], needs: ['N > 1'] })).toThrow(
    'demo: N in the condition N > 1',
  );
});

test('a condition may call a function of dims and scalars', () => {
  const demo = {
    doc: '',
    args: [
      ['blocks', 'in u8 B'],
      ['type', 'i64'],
    ],
  } as const;
  expect(parseOp('demo', { ...demo, needs: ['bytes_of(type, 4) == B'] }).tensors[0]).toMatchObject({ dtype: 'u8' });
  expect(() => parseOp('demo', { ...demo, needs: ['bytes_of(kind, 4) == B'] })).toThrow('demo: kind in the condition');
});

test('every operation of the table fits the limits of the native checks', () => {
  for (const op of opTable) {
    expect(op.tensors.length, op.name).toBeLessThanOrEqual(12);
    expect(op.symbols.length, op.name).toBeLessThanOrEqual(12);
    for (const tensor of op.tensors) expect(tensor.dims.length, `${op.name} ${tensor.name}`).toBeLessThanOrEqual(4);
  }
});
