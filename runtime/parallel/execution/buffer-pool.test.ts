import { expect, test } from 'vitest';
import { BufferPool } from './buffer-pool.ts';

function pool() {
  const made: number[] = [];
  const buffers = new BufferPool((elements) => ({ elements, index: made.push(elements) - 1 }));
  return { made, buffers };
}

test('memory that is free is taken before any is made, of the same size only', () => {
  const { made, buffers } = pool();
  const first = buffers.take(10);
  buffers.give(first);
  expect(buffers.take(10)).toBe(first);
  buffers.take(20);
  buffers.take(10);
  expect(made).toEqual([10, 20, 10]);
});

test('what was given back first is taken first', () => {
  const { buffers } = pool();
  const [a, b] = [buffers.take(10), buffers.take(10)];
  buffers.give(b);
  buffers.give(a);
  expect([buffers.take(10), buffers.take(10)]).toEqual([b, a]);
});

test('what is still read is left alone until the next are read, or there was time for it', () => {
  const { made, buffers } = pool();
  const [a, b] = [buffers.take(10), buffers.take(10)];
  buffers.giveLate([a]);
  expect(buffers.take(10)).not.toBe(a);
  buffers.giveLate([b]);
  expect(buffers.take(10)).toBe(a);
  buffers.settle();
  expect(buffers.take(10)).toBe(b);
  expect(made).toHaveLength(3);
});
