// Which part of each parameter a rank of a tensor group holds, declared by the parameter's logical axes.
import type { LogicalAxis, ParameterSpec } from '#runtime/model/config.ts';
import { unitRows } from './layout-faults.ts';

/**
 * How the ranks of a tensor group share an axis: `even` gives each the same number of indices, `units` gives each whole units of 16 and
 * so may be uneven, `whole` leaves all of it with every rank.
 */
const tensorSharding: Readonly<Record<LogicalAxis, 'even' | 'units' | 'whole'>> = {
  heads: 'even',
  kvHeads: 'even',
  intermediate: 'even',
  vocabulary: 'units',
  hidden: 'whole',
  headSize: 'whole',
  experts: 'whole',
  position: 'whole',
};

/** A part of a parameter: `sizes[d]` indices from `offsets[d]` on of each dim d. */
export interface Box {
  readonly offsets: readonly number[];
  readonly sizes: readonly number[];
}

/** The box of a parameter that rank `rank` of a tensor group of `ranks` holds. Boxes of all ranks tile a sharded parameter. */
export function tensorBox({ shape, axes }: Pick<ParameterSpec, 'shape' | 'axes'>, rank: number, ranks: number): Box {
  const spans = shape.map((size, dim) => spanOf(axes[dim], size, rank, ranks));
  return { offsets: spans.map(([begin]) => begin), sizes: spans.map(([begin, end]) => end - begin) };
}

/** Number of elements of a box. */
export function boxElements({ sizes }: Box): number {
  return sizes.reduce((product, size) => product * size, 1);
}

/** Whether ranks of a tensor group hold different parts of the parameter, and not copies of all of it. */
export function isTensorSharded({ axes }: Pick<ParameterSpec, 'axes'>): boolean {
  return axes.some((axis) => tensorSharding[axis] !== 'whole');
}

/** Whether the rank counts its part of a parameter in sums over all elements, such as the gradient norm: each element has one owner. */
export function ownsInNorm(spec: Pick<ParameterSpec, 'axes'>, tensorRank: number): boolean {
  return tensorRank === 0 || isTensorSharded(spec);
}

/** Tokens [begin, end) of the vocabulary whose rows rank `rank` holds: whole units of 16, the last one cut where the vocabulary ends. */
export function vocabularySpan(vocabularySize: number, rank: number, ranks: number): readonly [begin: number, end: number] {
  const units = Math.ceil(vocabularySize / unitRows);
  const begin = Math.floor((rank * units) / ranks) * unitRows;
  const end = Math.floor(((rank + 1) * units) / ranks) * unitRows;
  return [begin, Math.min(vocabularySize, end)];
}

function spanOf(axis: LogicalAxis | undefined, size: number, rank: number, ranks: number): readonly [number, number] {
  const kind = axis === undefined ? 'whole' : tensorSharding[axis];
  if (kind === 'whole') return [0, size];
  if (kind === 'units') return vocabularySpan(size, rank, ranks);
  if (size % ranks !== 0) throw new Error(`internal: ${ranks} ranks can't share ${size} indices of ${axis} evenly`);
  return [(rank * size) / ranks, ((rank + 1) * size) / ranks];
}
