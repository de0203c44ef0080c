// Between the tensors of a family's files and our parameters: rows beside each other, transposed or not.
import { setImmediate } from 'node:timers/promises';

/** Elements handled between two turns of the event loop, and the edge of the square tiles that stay in the cache. */
const sliceElements = 1 << 18;
const tile = 32;

/** The transpose of a matrix of `rows` x `columns`. */
export async function transpose(from: Float32Array, rows: number, columns: number): Promise<Float32Array> {
  const into = new Float32Array(from.length);
  const rowsPerSlice = Math.max(tile, Math.floor(sliceElements / columns));
  for (let first = 0; first < rows; first += rowsPerSlice) {
    transposeRows(from, into, rows, columns, first, Math.min(rows, first + rowsPerSlice));
    await setImmediate();
  }
  return into;
}

function transposeRows(from: Float32Array, into: Float32Array, rows: number, columns: number, first: number, end: number): void {
  for (let top = first; top < end; top += tile) {
    const bottom = Math.min(end, top + tile);
    for (let left = 0; left < columns; left += tile) {
      const right = Math.min(columns, left + tile);
      for (let row = top; row < bottom; row += 1) {
        for (let column = left; column < right; column += 1) into[column * rows + row] = from[row * columns + column] ?? 0;
      }
    }
  }
}

/** All values one list after the other. */
export function concatenate(parts: readonly Float32Array[]): Float32Array {
  const [only, ...others] = parts;
  if (only && others.length === 0) return only;
  const into = new Float32Array(parts.reduce((total, part) => total + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    into.set(part, offset);
    offset += part.length;
  }
  return into;
}

type Turns = { readonly shape: readonly number[]; readonly parameters: readonly string[] };

/** Rows of which `turn` of each parameter follow each other in turns -> all rows of the first parameter, of the second, and so on. */
export function gatherTurns(values: Float32Array, tensor: Turns, turn: number): Float32Array {
  const into = new Float32Array(values.length);
  for (const [theirs, ours, size] of runs(tensor, turn)) into.set(values.subarray(theirs, theirs + size), ours);
  return into;
}

/** The way back. */
export function takeTurns(values: Float32Array, tensor: Turns, turn: number): Float32Array {
  const into = new Float32Array(values.length);
  for (const [theirs, ours, size] of runs(tensor, turn)) into.set(values.subarray(ours, ours + size), theirs);
  return into;
}

/** Runs of rows: where they begin in the file, where with each parameter's rows together, and their elements. */
function* runs({ shape, parameters }: Turns, turn: number): Generator<readonly [theirs: number, ours: number, size: number]> {
  const [rows = 0, columns = 1] = shape;
  const size = turn * columns;
  const turns = rows / parameters.length / turn;
  for (let at = 0; at < turns; at += 1) {
    for (let part = 0; part < parameters.length; part += 1) {
      yield [(at * parameters.length + part) * size, (part * turns + at) * size, size];
    }
  }
}
