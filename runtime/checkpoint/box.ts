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
  let inner = part.sizes.length - 1;
  const isWhole = (dim: number) => part.sizes[dim] === from.sizes[dim] && part.sizes[dim] === to.sizes[dim];
  while (inner > 0 && isWhole(inner)) inner -= 1;
  const length = elementsOf(part.sizes.slice(Math.max(0, inner)));
  const index = part.sizes.map(() => 0);
  for (;;) {
    yield { source: flatIndex(index, part, from), target: flatIndex(index, part, to), length };
    let dim = inner - 1;
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

/** Whether the elements of `part` follow each other in the row-major memory of `box`. */
export function isOneRun(part: Box, box: Box): boolean {
  const cut = part.sizes.findLastIndex((size, dim) => size < (box.sizes[dim] ?? 0));
  return part.sizes.every((size, dim) => dim >= cut || size === 1);
}

/** A box that lies in one piece in the row-major memory of a larger one, `at` elements from the start of what was asked for. */
export interface PlacedBox {
  readonly box: Box;
  readonly at: number;
}

/**
 * The boxes that elements [begin, end) of the row-major `box` consist of, in order: at most 2 * dims - 1, in the indices of the tensor that
 * `box` is a part of.
 */
export function flatRangeBoxes({ offsets, sizes }: Box, begin: number, end: number): PlacedBox[] {
  if (sizes.length === 0) return begin < end ? [{ box: { offsets, sizes }, at: 0 }] : [];
  const strides = sizes.map((_, dim) => elementsOf(sizes.slice(dim + 1)));
  const boxes: PlacedBox[] = [];
  for (let position = begin; position < end;) {
    const index = strides.map((stride, dim) => Math.floor(position / stride) % (sizes[dim] ?? 1));
    // The outermost dim along which whole rows begin here and still fit.
    const dim = strides.findIndex((stride) => position % stride === 0 && stride <= end - position);
    const stride = strides[dim] ?? 1;
    const count = Math.min((sizes[dim] ?? 1) - (index[dim] ?? 0), Math.floor((end - position) / stride));
    boxes.push({
      at: position - begin,
      box: {
        offsets: offsets.map((offset, of) => offset + (index[of] ?? 0)),
        sizes: sizes.map((size, of) => (of < dim ? 1 : of === dim ? count : size)),
      },
    });
    position += count * stride;
  }
  return boxes;
}

/** Cuts a box into boxes of at most `most` elements (or single elements) that follow each other in its row-major memory. */
export function* cutBox(box: Box, most: number, at = 0): Generator<PlacedBox> {
  const dim = box.sizes.findIndex((size) => size > 1);
  const elements = elementsOf(box.sizes);
  if (elements <= most || dim < 0) {
    yield { box, at };
    return;
  }
  const [rows, offset] = [box.sizes[dim] ?? 1, box.offsets[dim] ?? 0];
  const stride = elements / rows;
  const step = Math.max(1, Math.floor(most / stride));
  for (let row = 0; row < rows; row += step) {
    const part = { offsets: box.offsets.with(dim, offset + row), sizes: box.sizes.with(dim, Math.min(step, rows - row)) };
    yield* cutBox(part, most, at + row * stride);
  }
}
