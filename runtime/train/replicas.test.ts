import { expect, it } from 'vitest';
import { findDifference } from './replicas.ts';

it('names the rank that stands alone', () => {
  const agreed = [['blocks.0.mlp.up.weight[0,0] elements 0 to 64', 7]] as const;
  const flipped = [['blocks.0.mlp.up.weight[0,0] elements 0 to 64', 8]] as const;
  expect(findDifference([agreed, agreed, agreed, agreed])).toBeUndefined();
  expect(findDifference([agreed, agreed, flipped, agreed])).toBe(
    'rank 2 differs from ranks 0, 1, 3 in blocks.0.mlp.up.weight[0,0] elements 0 to 64',
  );
});

it('names both where two ranks contradict each other', () => {
  expect(findDifference([[['head', 1]], [['head', 2]], []])).toBe('rank 0 and rank 1 differ in head');
});

it('does not compare pieces that have other names', () => {
  expect(findDifference([[['a', 1]], [['b', 2]]])).toBeUndefined();
});
