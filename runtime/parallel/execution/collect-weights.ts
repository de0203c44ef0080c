// Brings the weights of all ranks together on rank 0: to publish a model, or to let it speak.
import { Event, Stream, empty, keep, unscoped } from '#runtime/tensor/main.ts';
import type { Communicator, Device } from '#runtime/tensor/main.ts';
import type { PieceState } from './flat-state.ts';
import type { TextExchange } from './text-exchange.ts';

interface Part {
  readonly name: string;
  readonly shape: readonly number[];
  readonly offsets: readonly number[];
  readonly sizes: readonly number[];
  readonly begin: number;
  readonly end: number;
}

export interface CollectOptions {
  readonly device: Device;
  readonly compute: Stream;
  /** All ranks; for this alone. */
  readonly world: Communicator;
  readonly exchange: TextExchange;
}

/**
 * All ranks call it with the pieces that they answer for: together each element once. Resolves to the values by parameter name on rank 0, and to
 * nothing elsewhere.
 */
export async function collectWeights(
  pieces: readonly PieceState[],
  { device, compute, world, exchange }: CollectOptions,
): Promise<Map<string, Float32Array> | undefined> {
  const parts: Part[] = pieces.map(({ piece: { entry, begin, end } }) => {
    const { name, shape } = entry.spec;
    return { name, shape, ...entry.box, begin, end };
  });
  const all = (await exchange.allGather(JSON.stringify(parts))).map((text) => JSON.parse(text) as Part[]);
  using stream = Stream.open();
  using event = new Event();
  event.mark(compute);
  stream.after(event);
  if (world.rank !== 0) {
    for (const { weight, piece } of pieces) world.send(stream, weight, 0, `collect ${piece.entry.spec.name}`);
    await stream.sync();
    return undefined;
  }
  const values = new Map<string, Float32Array>();
  for (const [rank, theirs] of all.entries()) {
    for (const [index, part] of theirs.entries()) {
      const { name, shape } = part;
      const into = values.get(name) ?? new Float32Array(shape.reduce((product, dim) => product * dim, 1));
      values.set(name, into);
      if (rank === 0) place(await pieces[index]!.weight.read(), part, into);
      else {
        using tensor = keep(unscoped(() => empty(device, [part.end - part.begin], `collected ${name}`)));
        world.receive(stream, tensor, rank, `collect ${name}`);
        event.mark(stream);
        compute.after(event);
        place(await tensor.read(), part, into);
      }
    }
  }
  return values;
}

/** Writes elements [begin, end) of the row-major part of an array into the whole array. */
function place(part: Float32Array, { shape, offsets, sizes, begin, end }: Part, into: Float32Array): void {
  const columns = shape.at(-1) ?? 1;
  const width = sizes.at(-1) ?? 1;
  const firstColumn = offsets.at(-1) ?? 0;
  const firstRow = offsets.length > 1 ? (offsets[0] ?? 0) : 0;
  for (let at = begin; at < end;) {
    const [row, column] = [Math.floor(at / width), at % width];
    const count = width === columns ? end - at : Math.min(width - column, end - at);
    into.set(part.subarray(at - begin, at - begin + count), (firstRow + row) * columns + firstColumn + column);
    at += count;
  }
}
