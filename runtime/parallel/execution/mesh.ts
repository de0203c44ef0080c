// The communicators of a rank: one for each group of the mesh that it belongs to, and one for each purpose that has a stream of its own.
import type { Communicator } from '#runtime/tensor/main.ts';
import { TextExchange } from './text-exchange.ts';
import type { Coordinates, ParallelLayout } from '../layout.ts';

/** Groups of more than one rank; absent where the rank is alone. */
export interface Mesh {
  readonly rank: number;
  readonly layout: ParallelLayout;
  readonly at: Coordinates;
  readonly world: Communicator | undefined;
  readonly tensor: Communicator | undefined;
  /** Gathers weights. */
  readonly shardGather: Communicator | undefined;
  /** Gathers weights from the neighbours that keep them after a forward pass. */
  readonly near: Communicator | undefined;
  /** Reduces gradients over the shards of one copy of the state. */
  readonly shardReduce: Communicator | undefined;
  /** Reduces gradients over the copies of the state. */
  readonly replicate: Communicator | undefined;
  /** Adds losses over the data ranks. */
  readonly data: Communicator | undefined;
  readonly pipeline: Communicator | undefined;
  /** All ranks that together hold the state once: for the gradient norm. */
  readonly model: Communicator | undefined;
  /** Texts among all ranks while training goes on, and, apart from those, about checkpoints. */
  readonly exchange: TextExchange | undefined;
  readonly checkpointExchange: TextExchange | undefined;
  /** Collects weights on rank 0. */
  readonly collector: Communicator | undefined;
  /** All of the above and those of `group`, but for the world. */
  readonly communicators: readonly Communicator[];
  /** Another communicator of `ranks`, this one among them; `name` says what for. */
  group(ranks: readonly number[], name: string): Communicator | undefined;
  [Symbol.dispose](): void;
}

/** Splits the world by the axes of the layout. Without a world, all groups are of one. */
export function openMesh(layout: ParallelLayout, rank: number, world: Communicator | undefined): Mesh {
  const at = layout.coordinates(rank);
  const opened: Communicator[] = [];
  const group = (ranks: readonly number[], name: string): Communicator | undefined => {
    if (!world || ranks.length === 1) return undefined;
    const made = world.split(ranks, `${name} ${ranks.join('.')}`.slice(0, 47));
    opened.push(made);
    return made;
  };
  const shards = layout.shardGroup(rank);
  const everybody = Array.from({ length: layout.world }, (_, each) => each);
  const exchangeOf = (name: string) => {
    const made = group(everybody, name);
    return made && new TextExchange(made);
  };
  const exchange = exchangeOf('exchange');
  const checkpointExchange = exchangeOf('checkpoint');
  return {
    rank,
    layout,
    at,
    world,
    tensor: group(layout.tensorGroup(rank), 'tensor'),
    shardGather: group(shards, 'gather'),
    near: group(layout.nearGroup(rank), 'near'),
    shardReduce: group(shards, 'scatter'),
    replicate: group(layout.replicateGroup(rank), 'replicate'),
    data: group(layout.dataGroup(rank), 'data'),
    pipeline: group(layout.pipelineGroup(rank), 'pipeline'),
    model: group(layout.modelGroup(rank), 'model'),
    exchange,
    checkpointExchange,
    collector: group(everybody, 'collect'),
    communicators: opened,
    group,
    [Symbol.dispose]() {
      exchange?.[Symbol.dispose]();
      checkpointExchange?.[Symbol.dispose]();
      for (const communicator of opened.toReversed()) communicator[Symbol.dispose]();
    },
  };
}
