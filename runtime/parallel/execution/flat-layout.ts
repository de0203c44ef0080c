// How the parameters of a unit (the token table, a block, ...) lie one after the other in flat memory, and what part of it a rank updates.
import type { ParameterSpec } from '#runtime/model/main.ts';
import type { Box } from '../sharding.ts';

/** A parameter in flat memory: what it is in the model, and where its local part lies. */
export interface FlatEntry {
  readonly spec: ParameterSpec;
  /** The part of the parameter that this rank's tensor group position holds. */
  readonly box: Box;
  /** First element in the flat memory. */
  readonly offset: number;
  /** Elements. */
  readonly size: number;
  /** Whether all ranks of the tensor group hold all of it. */
  readonly isReplicated: boolean;
}

/** A contiguous part of a parameter's local elements. */
export interface Piece {
  readonly entry: FlatEntry;
  /** Elements [begin, end) of the local parameter, row-major. */
  readonly begin: number;
  readonly end: number;
}

/** Parts of a flat memory begin at multiples of this many elements: 64 bytes. */
const alignment = 16;

export class FlatLayout {
  readonly name: string;
  readonly entries: readonly FlatEntry[];
  /** Elements, padding included: the same on all ranks of a shard group, and a multiple of their number. */
  readonly size: number;
  /** Elements of one shard. */
  readonly shardSize: number;
  /** The first so many elements are parameters that all ranks of a tensor group hold. */
  readonly replicatedSize: number;

  /** Parameters that a tensor group shares out come after those that each rank of it has. */
  constructor(name: string, parameters: readonly { spec: ParameterSpec; box: Box }[], shards: number) {
    this.name = name;
    const isReplicated = ({ spec, box }: { spec: ParameterSpec; box: Box }) => box.sizes.join() === spec.shape.join();
    const ordered = [...parameters.filter(isReplicated), ...parameters.filter((each) => !isReplicated(each))];
    let offset = 0;
    let replicatedSize = 0;
    this.entries = ordered.map(({ spec, box }) => {
      const size = box.sizes.reduce((product, dim) => product * dim, 1);
      const entry = { spec, box, offset, size, isReplicated: isReplicated({ spec, box }) };
      offset += Math.ceil(size / alignment) * alignment;
      if (entry.isReplicated) replicatedSize = offset;
      return entry;
    });
    this.replicatedSize = replicatedSize;
    this.shardSize = Math.ceil(offset / shards / alignment) * alignment;
    this.size = this.shardSize * shards;
  }

  /** What of the parameters lies in a shard. */
  pieces(shard: number): Piece[] {
    const [begin, end] = [shard * this.shardSize, (shard + 1) * this.shardSize];
    return this.entries.flatMap((entry) => {
      const from = Math.max(begin, entry.offset) - entry.offset;
      const to = Math.min(end, entry.offset + entry.size) - entry.offset;
      return from < to ? [{ entry, begin: from, end: to }] : [];
    });
  }
}
