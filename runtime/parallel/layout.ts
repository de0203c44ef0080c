// The mesh of a job: which rank stands where on the axes pipeline, dataReplicate, dataShard and tensor, and with whom it forms groups.
import { WindlassError } from '#runtime/api/errors.ts';
import type { ModelConfig } from '#runtime/model/config.ts';
import { layoutFaults } from './layout-faults.ts';
import type { BatchShape } from './layout-faults.ts';
import { worldOf } from './parallelism.ts';
import type { Parallelism } from './parallelism.ts';

/** Where a rank stands; each counts from 0. */
export interface Coordinates {
  readonly pipeline: number;
  readonly replicate: number;
  readonly shard: number;
  readonly tensor: number;
  /** replicate * dataShard + shard: which part of the grains the rank works on. */
  readonly data: number;
}

/** Axes from the outermost to the innermost: rank = ((pipeline * R + replicate) * S + shard) * T + tensor. Groups list world ranks in group order. */
export class ParallelLayout {
  readonly parallelism: Parallelism;
  readonly world: number;
  /** Ranks that work on different grains: dataReplicate * dataShard. */
  readonly dataRanks: number;

  /** Throws WL_MANIFEST_INVALID if the axes don't multiply to `world`. */
  constructor(parallelism: Parallelism, world: number) {
    refuse(worldFaults(parallelism, world));
    this.parallelism = parallelism;
    this.world = world;
    this.dataRanks = parallelism.dataReplicate * parallelism.dataShard;
  }

  coordinates(rank: number): Coordinates {
    const { dataReplicate, dataShard, tensor } = this.parallelism;
    if (!Number.isInteger(rank) || rank < 0 || rank >= this.world)
      throw new Error(`internal: rank ${rank} of a world of ${this.world}`);
    const outer = Math.floor(rank / tensor);
    const data = outer % this.dataRanks;
    return {
      pipeline: Math.floor(outer / (dataReplicate * dataShard)),
      replicate: Math.floor(data / dataShard),
      shard: data % dataShard,
      tensor: rank % tensor,
      data,
    };
  }

  /** The inverse of `coordinates`; `data` follows from the others. */
  rankOf({ pipeline, replicate, shard, tensor }: Omit<Coordinates, 'data'>): number {
    const { dataReplicate: r, dataShard: s, tensor: t } = this.parallelism;
    return ((pipeline * r + replicate) * s + shard) * t + tensor;
  }

  /** The ranks that split each layer with `rank`. */
  tensorGroup(rank: number): number[] {
    return this.#along(rank, 'tensor');
  }

  /** The ranks that share one copy of the state of the stages of `rank`. */
  shardGroup(rank: number): number[] {
    return this.#along(rank, 'shard');
  }

  /** Neighbours in the shard group of `rank` that keep gathered weights together: `rank` alone without `reshardWithin`. */
  nearGroup(rank: number): number[] {
    const { reshardWithin = 1 } = this.parallelism;
    const { shard } = this.coordinates(rank);
    const first = shard - (shard % reshardWithin);
    return this.shardGroup(rank).slice(first, first + reshardWithin);
  }

  /** The ranks that hold the same shard of other copies. */
  replicateGroup(rank: number): number[] {
    return this.#along(rank, 'replicate');
  }

  /** The ranks with the same parameters and other grains, by `data`. */
  dataGroup(rank: number): number[] {
    const { pipeline, tensor } = this.coordinates(rank);
    return this.#where((at) => at.pipeline === pipeline && at.tensor === tensor);
  }

  /** The ranks that pass activations of the same grains on to each other, in the order of the axis. */
  pipelineGroup(rank: number): number[] {
    return this.#along(rank, 'pipeline');
  }

  /** The ranks of the replica of `rank`: all that differ in pipeline, shard or tensor. Together they hold each optimizer state once. */
  modelGroup(rank: number): number[] {
    const { replicate } = this.coordinates(rank);
    return this.#where((at) => at.replicate === replicate);
  }

  /** Throws WL_MANIFEST_INVALID that names every field that does not fit the model or the batch, why, and a size that would fit. */
  validate(model: ModelConfig, batch: BatchShape): void {
    refuse(layoutFaults(this.parallelism, model, batch));
  }

  #along(rank: number, axis: 'pipeline' | 'replicate' | 'shard' | 'tensor'): number[] {
    const { pipeline, dataReplicate, dataShard, tensor } = this.parallelism;
    const size = { pipeline, replicate: dataReplicate, shard: dataShard, tensor }[axis];
    const at = this.coordinates(rank);
    return Array.from({ length: size }, (_, index) => this.rankOf({ ...at, [axis]: index }));
  }

  #where(isMember: (at: Coordinates) => boolean): number[] {
    return Array.from({ length: this.world }, (_, rank) => rank).filter((rank) => isMember(this.coordinates(rank)));
  }
}

function worldFaults(parallelism: Parallelism, world: number): { path: string; message: string }[] {
  const { pipeline, dataReplicate, dataShard, tensor } = parallelism;
  const product = worldOf(parallelism);
  if (product === world) return [];
  const copies = world / (product / dataReplicate);
  const fit = Number.isInteger(copies) && copies > 0 ? `dataReplicate: ${copies} would fit` : `use ${product} ranks`;
  const axes = `pipeline ${pipeline} x dataReplicate ${dataReplicate} x dataShard ${dataShard} x tensor ${tensor}`;
  return [{ path: 'spec.parallelism', message: `${axes} makes ${product} ranks, but the world has ${world}: ${fit}` }];
}

function refuse(faults: readonly { readonly path: string; readonly message: string }[]): void {
  const [first] = faults;
  if (!first) return;
  throw new WindlassError('WL_MANIFEST_INVALID', faults.map(({ path, message }) => `${path}: ${message}`).join('\n'), {
    details: { path: first.path },
  });
}
