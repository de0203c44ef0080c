// Who writes what: each element once among the ranks that hold it, the bytes spread evenly. Every rank finds its part by itself.
import { cutBox, flatRangeBoxes } from './box.ts';
import type { Box } from './box.ts';
import { tensorName } from './shard.ts';
import type { Shard, ShardRange } from './shard.ts';

/** Unit of reading and of checksums, in elements: 4 MiB. A reader of a part reads whole chunks. */
const maxChunkElements = 1 << 20;
/** Ranges of fewer elements are written by one of their holders; larger ones are divided among all. */
const leastSharedElements = 1 << 14;

/** A box of a tensor that this rank writes. */
export interface PlannedChunk {
  /** Name in the manifest. */
  readonly tensor: string;
  readonly box: Box;
  readonly from: ShardRange;
  /** Elements [begin, end) of the range's memory. */
  readonly begin: number;
  readonly end: number;
}

/**
 * What a rank writes of its shards, in their order. Depends on each range alone, so that ranks that hold the same range agree without a word:
 * of a large one replica r writes the rth part (whole rows, where it has such), a small one is written by the replica that its name picks.
 */
export function planSave(shards: readonly Shard[]): PlannedChunk[] {
  return shards.flatMap((shard) => shard.ranges.flatMap((range) => chunksOf(shard, range)));
}

function chunksOf(shard: Shard, range: ShardRange): PlannedChunk[] {
  const tensor = tensorName(shard);
  const [begin, end] = ownPart(tensor, range);
  return flatRangeBoxes(range.box, begin, end).flatMap(({ box, at }) =>
    [...cutBox(box, maxChunkElements, begin - range.begin + at)].map((cut) => ({
      tensor,
      box: cut.box,
      from: range,
      begin: cut.at,
      end: cut.at + cut.box.sizes.reduce((product, size) => product * size, 1),
    })),
  );
}

function ownPart(tensor: string, { box, begin, end, replica, replicas }: ShardRange): readonly [begin: number, end: number] {
  const elements = end - begin;
  if (elements < leastSharedElements) {
    const owner = hash(`${tensor} ${box.offsets.join()} ${begin}`) % replicas;
    return replica === owner ? [begin, end] : [begin, begin];
  }
  const columns = box.sizes.at(-1) ?? 1;
  const border = (part: number) => {
    if (part === 0 || part === replicas) return part === 0 ? begin : end;
    const even = begin + Math.floor((elements * part) / replicas);
    return columns * replicas > elements ? even : Math.max(begin, Math.floor(even / columns) * columns);
  };
  return [border(replica), border(replica + 1)];
}

/** FNV-1a. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1) value = Math.imul(value ^ text.charCodeAt(index), 0x01000193);
  return value >>> 0;
}
