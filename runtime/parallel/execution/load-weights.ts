// Brings the values of a model's parameters into the pieces of them that a rank updates.
import type { WeightSource } from '#runtime/model/main.ts';
import type { Box } from '../sharding.ts';
import type { PieceState } from './flat-state.ts';

/** Reads each parameter once. Moments become zero only by being made: this does not touch them. */
export async function loadPieces(pieces: readonly PieceState[], source: Pick<WeightSource, 'read'>): Promise<void> {
  let last: { name: string; values: Float32Array } | undefined;
  for (const { piece, weight } of pieces) {
    const { spec, box } = piece.entry;
    if (last?.name !== spec.name) last = { name: spec.name, values: await source.read(spec.name) };
    weight.write(cut(last.values, spec.shape, box, piece.begin, piece.end));
  }
}

/** Elements [begin, end) of the row-major part `box` of an array of `shape`, which has one or two dims. */
function cut(values: Float32Array, shape: readonly number[], { offsets, sizes }: Box, begin: number, end: number): Float32Array {
  const columns = shape.at(-1) ?? 1;
  const width = sizes.at(-1) ?? 1;
  const first = (offsets.length > 1 ? (offsets[0] ?? 0) : 0) * columns + (offsets.at(-1) ?? 0);
  if (width === columns) return values.subarray(first + begin, first + end);
  const part = new Float32Array(end - begin);
  for (let at = begin; at < end;) {
    const [row, column] = [Math.floor(at / width), at % width];
    const count = Math.min(width - column, end - at);
    part.set(values.subarray(first + row * columns + column, first + row * columns + column + count), at - begin);
    at += count;
  }
  return part;
}
