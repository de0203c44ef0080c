// Ranks of any layout over plain arrays, for the tests and benches of checkpoints.
import { copyRuns, elementsOf, flatRangeBoxes, wholeBox } from './box.ts';
import type { Box } from './box.ts';
import type { Disk } from './disk.ts';
import { saveCheckpoint } from './save.ts';
import type { CheckpointContents } from './save.ts';
import type { Group, Shard, ShardMemory, ShardRange } from './shard.ts';
import type { Exchange } from './exchange.ts';

/** A tensor of the job under test. Its values are `from`, `from` + 1/8, ... in row-major order. */
export interface TestTensor {
  readonly group: Group;
  readonly name: string;
  readonly shape: readonly number[];
  readonly from: number;
  /** Rows that consist of several tensors of equal size, each divided by itself: queries, keys and values in one. */
  readonly fused?: number;
}

/** How ranks share the tensors: rank = ((stage * replicas + r) * shards + s) * tensor + t. */
export interface TestLayout {
  readonly pipeline?: number;
  readonly replicas?: number;
  /** Flat shards of each local parameter; with `zero: 1` of its moments alone, the weights are replicated. */
  readonly shards?: number;
  readonly zero?: 1 | 3;
  /** The first and the last stage hold the first tensor. */
  readonly tied?: boolean;
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

/** What a rank holds, with the values of the tensors, or NaN to be overwritten by a load. */
export function shardsOfRank(tensors: readonly TestTensor[], layout: TestLayout, rank: number, isEmpty = false): Shard[] {
  const { pipeline = 1, shards = 1, tensor = 1 } = layout;
  const [t, s] = [rank % tensor, Math.floor(rank / tensor) % shards];
  const names = [...new Set(tensors.map(({ name }) => name))];
  const stage = Math.floor(rank / (worldOf(layout) / pipeline));
  return tensors.flatMap((each) => {
    const stages = stagesOf(names.indexOf(each.name), names.length, layout);
    if (!stages.includes(stage)) return [];
    const { isDivided, boxes } = localBoxes(each, layout, t);
    const isWhole = layout.zero === 1 && each.group === 'weights';
    const flat = isWhole ? { index: 0, count: 1 } : { index: s, count: shards };
    const ranges = boxes.flatMap((box) => {
      const elements = elementsOf(box.sizes);
      const [begin, end] = [flat.index, flat.index + 1].map((of) => Math.floor((of * elements) / flat.count)) as [number, number];
      const values = isEmpty ? new Float32Array(end - begin).fill(NaN) : rangeValues(each, box, begin, end);
      const copy = copyOf(layout, rank, { isDivided, isWhole, stage: stages.indexOf(stage), stages: stages.length });
      const range: ShardRange = { tensor: new ArrayMemory(values), box, begin, end, ...copy };
      return begin < end ? [range] : [];
    });
    return [{ group: each.group, name: each.name, shape: each.shape, ranges }];
  });
}

function stagesOf(index: number, count: number, { pipeline = 1, tied = false }: TestLayout): number[] {
  const stage = Math.floor((index * pipeline) / count);
  return tied && index === 0 && pipeline > 1 ? [stage, pipeline - 1] : [stage];
}

/** The part of tensor rank `t`. */
function localBoxes(
  { shape, fused = 1 }: TestTensor,
  { tensor = 1, dim = 0 }: TestLayout,
  t: number,
): { isDivided: boolean; boxes: Box[] } {
  if (tensor === 1 || shape.length < 2) return { isDivided: false, boxes: [wholeBox(shape)] };
  const parts = dim === 0 ? fused : 1;
  const size = (shape[dim] ?? 1) / parts;
  const [begin, end] = [Math.floor((t * size) / tensor), Math.floor(((t + 1) * size) / tensor)];
  const boxes = Array.from({ length: parts }, (_, part) => ({
    offsets: shape.map((_, of) => (of === dim ? part * size + begin : 0)),
    sizes: shape.with(dim, end - begin),
  }));
  return { isDivided: true, boxes };
}

/** Which copy of its ranges a rank holds. */
function copyOf(
  { replicas = 1, shards = 1, tensor = 1 }: TestLayout,
  rank: number,
  { isDivided, isWhole, stage, stages }: { isDivided: boolean; isWhole: boolean; stage: number; stages: number },
): { replica: number; replicas: number } {
  const r = Math.floor(rank / tensor / shards) % replicas;
  const [t, s] = [rank % tensor, Math.floor(rank / tensor) % shards];
  let copy = { replica: stage * replicas + r, replicas: stages * replicas };
  if (isWhole) copy = { replica: copy.replica * shards + s, replicas: copy.replicas * shards };
  if (!isDivided) copy = { replica: copy.replica * tensor + t, replicas: copy.replicas * tensor };
  return copy;
}

/** The values of a flat range of a part of the tensor. */
function rangeValues({ shape, from }: TestTensor, box: Box, begin: number, end: number): Float32Array {
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
        const round = (rounds[next] ??= { texts: [], said: 0, all: Promise.withResolvers() });
        next += 1;
        round.texts[rank] = text;
        round.said += 1;
        if (round.said === size) round.all.resolve(round.texts);
        return round.all.promise;
      },
    };
  });
}

/** Does something on every rank of a layout at once. */
export function onEveryRank<T>(layout: TestLayout, work: (rank: number, exchange: Exchange) => Promise<T>): Promise<T[]> {
  return Promise.all(localExchanges(worldOf(layout)).map((exchange, rank) => work(rank, exchange)));
}

/** Saves the tensors from ranks of a layout. `diskOf` gives the disks of ranks that have one of their own. */
export async function saveFrom(
  root: string,
  tensors: readonly TestTensor[],
  layout: TestLayout,
  step: number,
  diskOf: (rank: number) => Disk | undefined = () => undefined,
): Promise<string> {
  const paths = await onEveryRank(layout, (rank, exchange) => {
    const disk = diskOf(rank);
    return saveCheckpoint(root, contentsOf(tensors, step, shardsOfRank(tensors, layout, rank)), {
      exchange,
      ...(disk && { disk }),
    });
  });
  return paths[0] ?? '';
}

/** State of a step, and what a job of one rank holds of the tensors. */
export function contentsOf(tensors: readonly TestTensor[], step: number, shards?: readonly Shard[]): CheckpointContents {
  return {
    configDigest: 'c0ffee',
    state: { step, seed: 7, sequences: step * 4, tokens: step * 64, evaluationsSinceBest: 0 },
    shards: shards ?? shardsOfRank(tensors, {}, 0),
  };
}
