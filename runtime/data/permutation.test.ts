import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { permute } from './permutation.ts';

const order = (size: number, seed: number, epoch: number) =>
  Array.from({ length: size }, (_, i) => permute(i, size, seed, epoch));

describe('the shuffled order', () => {
  it('has each place exactly once, for any size, seed and epoch', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 3000 }), fc.maxSafeNat(), fc.nat(1e6), (size, seed, epoch) => {
        expect(order(size, seed, epoch).sort((a, b) => a - b)).toEqual([...Array(size).keys()]);
      }),
      { numRuns: 60 },
    );
  });

  it('stays inside sizes beyond 32 bits', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2 ** 44 }), fc.maxSafeNat(), (size, index) => {
        const place = permute(index % size, size, 1, 2);
        expect(Number.isSafeInteger(place) && place >= 0 && place < size).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  it('differs between seeds that differ in any half, and between epochs', () => {
    const orders = [order(500, 1, 0), order(500, 2, 0), order(500, 1 + 2 ** 32, 0), order(500, 1, 1)];
    expect(new Set(orders.map(String)).size).toBe(4);
  });

  it('is spread like chance: neighbours land far apart, first places are even over the epochs', () => {
    const places = order(10_000, 7, 0);
    const near = places.slice(1).filter((place, i) => Math.abs(place - places[i]!) < 100).length;
    // Two of 10,000 random places are within 100 of each other with a chance of 2 %: 200 expected, standard deviation 14.
    expect(near).toBeGreaterThan(130);
    expect(near).toBeLessThan(270);
    const tenths = Array<number>(10).fill(0);
    for (let epoch = 0; epoch < 5000; epoch++) tenths[Math.floor(permute(0, 1000, 7, epoch) / 100)]!++;
    // 500 expected in each, standard deviation 21.
    for (const count of tenths) expect(Math.abs(count - 500)).toBeLessThan(110);
  });
});
