import { expect, it } from 'vitest';
import { GradientTree } from './gradient-tree.ts';

function shapeOf(grains: number): string {
  const tree = new GradientTree<string>((older, newer) => `(${older}${newer})`);
  for (let grain = 0; grain < grains; grain += 1) tree.add(String(grain));
  return tree.finish();
}

it.each([
  [1, '0'],
  [2, '(01)'],
  [3, '((01)2)'],
  [4, '((01)(23))'],
  [6, '(((01)(23))(45))'],
  [7, '(((01)(23))((45)6))'],
  [8, '(((01)(23))((45)(67)))'],
])('%i grains are added as %s', (grains, shape) => {
  expect(shapeOf(grains)).toBe(shape);
});

it('gives two ranks that own half of the grains the same tree as one rank', () => {
  const half = (first: number) => {
    const tree = new GradientTree<string>((older, newer) => `(${older}${newer})`);
    for (let grain = first; grain < first + 4; grain += 1) tree.add(String(grain));
    return tree.finish();
  };
  expect(`(${half(0)}${half(4)})`).toBe(shapeOf(8));
});
