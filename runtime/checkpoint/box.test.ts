import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { copyRuns, cutBox, elementsOf, flatRangeBoxes, intersect, wholeBox } from './box.ts';
import type { Box } from './box.ts';

/** Row-major values of a box whose element at global index (i, j, ...) is the number of that index. */
function valuesOf(box: Box, shape: readonly number[]): number[] {
  const values = new Array<number>(elementsOf(box.sizes));
  for (const { source, target, length } of copyRuns(box, wholeBox(shape), box)) {
    for (let i = 0; i < length; i += 1) values[target + i] = source + i;
  }
  return values;
}

const boxIn = (shape: readonly number[]) =>
  fc
    .tuple(...shape.map((size) => fc.tuple(fc.nat(size - 1), fc.nat(size - 1))))
    .map((pairs) => ({ offsets: pairs.map(([a, b]) => Math.min(a, b)), sizes: pairs.map(([a, b]) => Math.abs(a - b) + 1) }));

describe('boxes', () => {
  it('have no intersection when they only touch', () => {
    expect(intersect({ offsets: [0, 0], sizes: [2, 4] }, { offsets: [2, 0], sizes: [2, 4] })).toBeUndefined();
  });

  it('copy a scalar', () => {
    expect([...copyRuns(wholeBox([]), wholeBox([]), wholeBox([]))]).toEqual([{ source: 0, target: 0, length: 1 }]);
  });

  it('rebuild any box from any cut of the tensor into chunks', () => {
    const shape = [7, 5, 3];
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 4 }), boxIn(shape), (cutRows, cutColumns, wanted) => {
        const chunks: Box[] = [
          { offsets: [0, 0, 0], sizes: [cutRows, cutColumns, 3] },
          { offsets: [0, cutColumns, 0], sizes: [cutRows, 5 - cutColumns, 3] },
          { offsets: [cutRows, 0, 0], sizes: [7 - cutRows, 5, 3] },
        ];
        const rebuilt = new Array<number>(elementsOf(wanted.sizes)).fill(-1);
        for (const chunk of chunks) {
          const part = intersect(chunk, wanted);
          if (!part) continue;
          const stored = valuesOf(chunk, shape);
          for (const { source, target, length } of copyRuns(part, chunk, wanted)) {
            for (let i = 0; i < length; i += 1) rebuilt[target + i] = stored[source + i] ?? NaN;
          }
        }
        expect(rebuilt).toEqual(valuesOf(wanted, shape));
      }),
    );
  });

  it('of a flat range hold its elements in order, and are at most 2 * dims - 1', () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 5 }), { maxLength: 4 });
    fc.assert(
      fc.property(sizes, fc.nat(), fc.nat(), fc.integer({ min: 1, max: 40 }), (shape, a, b, most) => {
        const count = elementsOf(shape);
        const [begin = 0, end = 0] = [a % (count + 1), b % (count + 1)].sort((x, y) => x - y);
        const boxes = flatRangeBoxes(wholeBox(shape), begin, end);
        expect(boxes.length).toBeLessThanOrEqual(Math.max(1, 2 * shape.length - 1));
        const cut = boxes.flatMap(({ box, at }) => [...cutBox(box, most, at)]);
        const found: number[] = [];
        for (const { box, at } of cut) {
          expect(at).toBe(found.length);
          expect(elementsOf(box.sizes)).toBeLessThanOrEqual(most);
          found.push(...valuesOf(box, shape));
        }
        expect(found).toEqual(Array.from({ length: end - begin }, (_, index) => begin + index));
      }),
    );
  });

  it('of a flat range lie where the local parameter lies', () => {
    const rightHalf = { offsets: [0, 4], sizes: [6, 4] };
    expect(flatRangeBoxes(rightHalf, 6, 17)).toEqual([
      { box: { offsets: [1, 6], sizes: [1, 2] }, at: 0 },
      { box: { offsets: [2, 4], sizes: [2, 4] }, at: 2 },
      { box: { offsets: [4, 4], sizes: [1, 1] }, at: 10 },
    ]);
  });
});
