import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { copyRuns, elementsOf, intersect, wholeBox } from './box.ts';
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
});
