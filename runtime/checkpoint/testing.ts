// Ranks of any layout over plain arrays, for the tests and benches of checkpoints.
import { copyRuns, elementsOf, flatRangeBoxes, wholeBox } from './box.ts';
import type { Box } from './box.ts';
import type { CheckpointContents } from './save.ts';
import type { Group, Shard, ShardMemory, ShardRange } from './shard.ts';
import type { Exchange } from './exchange.ts';

/** A tensor of the job under test. Its values are `from`, `from` + 1/8, ... in row-major order. */
export interface TestTensor {
  readonly group: Group;
  readonly name: string;
  readonly shape: readonly number[];
  readonly from: number;
}

/** How ranks share the tensors: rank = ((stage * replicas + r) * shards + s) * tensor + t. */
export interface TestLayout {
  readonly pipeline?: number;
  readonly replicas?: number;
  /** Flat shards of each local parameter. */
  readonly shards?: number;
  /** Ranks that divide the dim `dim` of matrices; vectors are replicated. */
  readonly tensor?: number;
  readonly dim?: 0 | 1;
}

export class ArrayMemory implements ShardMemory {
  readonly values: Float32Array;

  constructor(values: Float32Array) {
    this.values = values;
  }

  get size(): number {
    return this.values.length;
  }

  read(into: Float32Array, offset: number): Promise<Float32Array> {
    into.set(this.values.subarray(offset, offset + into.length));
    return Promise.resolve(into);
  }

  write(values: Float32Array, offset: number): void {
    this.values.set(values, offset);
  }
}

export function worldOf({ pipeline = 1, replicas = 1, shards = 1, tensor = 1 }: TestLayout): number {
  return pipeline * replicas * shards * tensor;
}

/** What a rank holds, with the values that `valuesOf` gives: those of the tensors, or others to be overwritten by a load. */
export function shardsOfRank(tensors: readonly TestTensor[], layout: TestLayout, rank: number, isEmpty = false): Shard[] {
  const { pipeline = 1, replicas = 1, shards = 1, tensor = 1, dim = 0 } = layout;
  const [t, s] = [rank % tensor, Math.floor(rank / tensor) % shards];
  const [r, p] = [Math.floor(rank / tensor / shards) % replicas, Math.floor(rank / tensor / shards / replicas)];
  const names = [...new Set(tensors.map(({ name }) => name))];
  return tensors.flatMap((each) => {
    if (Math.floor((names.indexOf(each.name) * pipeline) / names.length) !== p) return [];
    const isDivided = tensor > 1 && each.shape.length > dim && each.shape.length > 1;
    const box = isDivided ? partOf(each.shape, dim, t, tensor) : wholeBox(each.shape);
    const elements = elementsOf(box.sizes);
    const [begin, end] = [Math.floor((s * elements) / shards), Math.floor(((s + 1) * elements) / shards)];
    const copies = isDivided ? { replica: r, replicas } : { replica: r * tensor + t, replicas: replicas * tensor };
    const values = isEmpty ? new Float32Array(end - begin).fill(NaN) : rangeValues(each, box, begin, end);
    const range: ShardRange = { tensor: new ArrayMemory(values), box, begin, end, ...copies };
    return [{ group: each.group, name: each.name, shape: each.shape, ranges: begin < end ? [range] : [] }];
  });
}

function partOf(shape: readonly number[], dim: number, part: number, parts: number): Box {
  const size = shape[dim] ?? 1;
  const [begin, end] = [Math.floor((part * size) / parts), Math.floor(((part + 1) * size) / parts)];
  return { offsets: shape.map((_, of) => (of === dim ? begin : 0)), sizes: shape.with(dim, end - begin) };
}

/** The values of a flat range of a part of the tensor. */
export function rangeValues({ shape, from }: TestTensor, box: Box, begin: number, end: number): Float32Array {
  const values = new Float32Array(end - begin);
  for (const { box: piece, at } of flatRangeBoxes(box, begin, end)) {
    for (const { source, target, length } of copyRuns(piece, wholeBox(shape), piece)) {
      for (let index = 0; index < length; index += 1) values[at + target + index] = from + (source + index) / 8;
    }
  }
  return values;
}

/** Exchanges of ranks inside one process. */
export function localExchanges(size: number): Exchange[] {
  const rounds: { texts: string[]; said: number; all: PromiseWithResolvers<string[]> }[] = [];
  return Array.from({ length: size }, (_, rank) => {
    let next = 0;
    return {
      rank,
      size,
      allGather: (text) => {
        const round = (rounds[next++] ??= { texts: [], said: 0, all: Promise.withResolvers() });
        round.texts[rank] = text;
        round.said += 1;
        if (round.said === size) round.all.resolve(round.texts);
        return round.all.promise;
      },
    };
  });
}

/** State of a step, and what a job of one rank holds of the tensors. */
export function contentsOf(tensors: readonly TestTensor[], step: number, shards?: readonly Shard[]): CheckpointContents {
  return {
    configDigest: 'c0ffee',
    state: { step, seed: 7, sequences: step * 4, tokens: step * 64, evaluationsSinceBest: 0 },
    shards: shards ?? shardsOfRank(tensors, {}, 0),
  };
}
