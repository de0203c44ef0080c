// Boxes of a tensor: which part of a stored chunk a reader needs. Any layout loads any checkpoint by intersecting them.

/** A part of a tensor: the first index and the size along each dim. */
export interface Box {
  readonly offsets: readonly number[];
  readonly sizes: readonly number[];
}

export function wholeBox(shape: readonly number[]): Box {
  return { offsets: shape.map(() => 0), sizes: shape };
}

export function elementsOf(sizes: readonly number[]): number {
  return sizes.reduce((product, size) => product * size, 1);
}

/** The part that two boxes share, or undefined. */
export function intersect(a: Box, b: Box): Box | undefined {
  const offsets = a.offsets.map((offset, dim) => Math.max(offset, b.offsets[dim] ?? 0));
  const ends = a.offsets.map((offset, dim) =>
    Math.min(offset + (a.sizes[dim] ?? 0), (b.offsets[dim] ?? 0) + (b.sizes[dim] ?? 0)),
  );
  const sizes = offsets.map((offset, dim) => (ends[dim] ?? 0) - offset);
  return sizes.every((size) => size > 0) ? { offsets, sizes } : undefined;
}

/** Runs of consecutive elements that copy `part` from an array laid out as `from` into one laid out as `to` (both row-major). */
export function* copyRuns(part: Box, from: Box, to: Box): Generator<{ source: number; target: number; length: number }> {
  const dims = part.sizes.length;
  const length = dims === 0 ? 1 : (part.sizes[dims - 1] ?? 1);
  const index = part.sizes.map(() => 0);
  for (;;) {
    yield { source: flatIndex(index, part, from), target: flatIndex(index, part, to), length };
    let dim = dims - 2;
    while (dim >= 0 && (index[dim] ?? 0) + 1 >= (part.sizes[dim] ?? 0)) index[dim--] = 0;
    if (dim < 0) return;
    index[dim] = (index[dim] ?? 0) + 1;
  }
}

function flatIndex(index: readonly number[], part: Box, within: Box): number {
  let flat = 0;
  for (const [dim, size] of within.sizes.entries()) {
    flat = flat * size + (part.offsets[dim] ?? 0) + (index[dim] ?? 0) - (within.offsets[dim] ?? 0);
  }
  return flat;
}
