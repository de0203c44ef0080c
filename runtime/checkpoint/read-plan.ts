// Which stored chunks a reader of any layout needs, and where their values go: boxes intersected with the help of an index, not all with all.
import { elementsOf, flatRangeBoxes, intersect } from './box.ts';
import type { Box } from './box.ts';
import type { Chunk } from './manifest.ts';
import type { PlacedPart, Target } from './target.ts';

/** Elements [begin, end) of the row-major box of a tensor; they go to `target`, from its element 0 on. */
export interface Wanted {
  readonly box: Box;
  readonly begin: number;
  readonly end: number;
  readonly target: Target;
}

/** A stored chunk, and the parts of it that are wanted. */
export interface PlannedRead {
  readonly chunk: Chunk;
  readonly uses: Use[];
}

interface Use {
  readonly target: Target;
  readonly part: PlacedPart;
}

/** Chunks whose places decide along which dim a tensor is indexed. */
const sampledChunks = 64;

/** The chunks of one tensor, by where they begin along the dim that tells most of them apart. */
export class ChunkIndex {
  /** Boxes that were compared with what was wanted, all in all. */
  examined = 0;
  readonly #dim: number;
  readonly #chunks: readonly Chunk[];
  /** Where the chunks up to each one end at the latest. */
  readonly #ends: number[] = [];

  constructor(chunks: readonly Chunk[]) {
    const every = Math.ceil(chunks.length / sampledChunks);
    const sample = chunks.filter((_, at) => at % every === 0);
    const distinct = (chunks[0]?.sizes ?? []).map((_, dim) => new Set(sample.map(({ offsets }) => offsets[dim])).size);
    const dim = Math.max(0, distinct.indexOf(Math.max(...distinct)));
    const begin = ({ offsets }: Chunk) => offsets[dim] ?? 0;
    this.#dim = dim;
    this.#chunks = chunks.toSorted((a, b) => begin(a) - begin(b));
    let latest = 0;
    for (const chunk of this.#chunks) {
      latest = Math.max(latest, begin(chunk) + (chunk.sizes[dim] ?? 1));
      this.#ends.push(latest);
    }
  }

  /** The chunks that share elements with the box, and what they share. */
  *within(box: Box): Generator<{ readonly chunk: Chunk; readonly part: Box }> {
    const begin = box.offsets[this.#dim] ?? 0;
    const end = begin + (box.sizes[this.#dim] ?? 1);
    for (let at = this.#firstEndingAfter(begin); at < this.#chunks.length; at += 1) {
      const chunk = this.#chunks[at]!;
      if ((chunk.offsets[this.#dim] ?? 0) >= end) break;
      this.examined += 1;
      const part = intersect(chunk, box);
      if (part) yield { chunk, part };
    }
  }

  #firstEndingAfter(position: number): number {
    let [low, high] = [0, this.#ends.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#ends[middle] ?? 0) > position) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

/** The reads for `wanted` of one tensor. `missing`: elements that no chunk holds. */
export function planReads(index: ChunkIndex, wanted: readonly Wanted[]): { reads: PlannedRead[]; missing: number } {
  const reads = new Map<Chunk, PlannedRead>();
  let missing = 0;
  for (const { box, begin, end, target } of wanted) {
    missing += end - begin;
    for (const { box: piece, at } of flatRangeBoxes(box, begin, end)) {
      for (const { chunk, part } of index.within(piece)) {
        missing -= elementsOf(part.sizes);
        let read = reads.get(chunk);
        if (!read) reads.set(chunk, (read = { chunk, uses: [] }));
        read.uses.push({ target, part: { part, piece, at } });
        target.expect(part, piece);
      }
    }
  }
  return { reads: [...reads.values()], missing };
}
