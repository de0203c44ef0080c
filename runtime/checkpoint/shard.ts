// What a rank holds of the state of a training: ranges of the job's tensors, and the memory where their values are.
import type { Box } from './box.ts';

export type Group = 'weights' | 'first' | 'second';

/** Memory that a save copies from and a load writes to: a tensor of the compute core. */
export interface ShardMemory {
  /** Number of elements. */
  readonly size: number;
  /** Copies `into.length` values from `offset`, as they are after what was enqueued before the call. */
  read(into: Float32Array, offset: number): Promise<Float32Array>;
  /** Overwrites the values from `offset`; `values` is copied before this returns. */
  write(values: Float32Array, offset: number): void;
}

/** Elements [begin, end) of a row-major local parameter, which is the part `box` of the job's tensor. */
export interface ShardRange {
  /** Holds end - begin elements. */
  readonly tensor: ShardMemory;
  readonly box: Box;
  readonly begin: number;
  readonly end: number;
  /** Which of the `replicas` ranks that hold these very elements this one is: one of them writes each element. */
  readonly replica: number;
  readonly replicas: number;
}

/** What a rank holds of one tensor of the job; several ranges where its part of a fused tensor is not one box. */
export interface Shard {
  readonly group: Group;
  readonly name: string;
  /** Of the whole tensor. */
  readonly shape: readonly number[];
  readonly ranges: readonly ShardRange[];
}

/** Name of a shard's tensor in manifests and chunk files. */
export function tensorName({ group, name }: Pick<Shard, 'group' | 'name'>): string {
  return `${group}/${name}`;
}
