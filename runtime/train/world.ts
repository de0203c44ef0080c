// Joins the ranks of a job: from the agent's word about the world to the communicators of this rank's groups.
import * as kernels from '#kernels/binding.ts';
import type { TrainingEnvironment } from '#runtime/api/environment.ts';
import type { RankLink } from '#runtime/api/rank-link.ts';
import type { World } from '#runtime/api/messages.ts';
import { layoutForWorld, openMesh, ParallelLayout } from '#runtime/parallel/main.ts';
import type { Mesh, Parallelism } from '#runtime/parallel/main.ts';
import { Communicator } from '#runtime/tensor/main.ts';

export interface RankWorld {
  readonly epoch: number;
  readonly rank: number;
  readonly size: number;
  readonly mesh: Mesh;
  /** Tells the other ranks why this one ends, so that they need not find out. */
  abort(message: string): void;
  [Symbol.dispose](): void;
}

/** Resolves when all ranks are connected. A job of one pod needs nobody. */
export async function joinWorld(env: TrainingEnvironment, link: RankLink, parallelism: Parallelism): Promise<RankWorld> {
  if (env.WL_WORLD_SIZE === 1) return worldOfOne(parallelism);
  const listener = kernels.commListen(env.WL_POD_IP === undefined ? {} : { address: env.WL_POD_IP });
  const world = await link.announce(listener.endpoint);
  if (world.worldSize === 1) {
    kernels.commCloseListener(listener.handle);
    return worldOfOne(parallelism, world.epoch);
  }
  const all = openCommunicator(env, world, listener.handle);
  await all.ready();
  const layout = new ParallelLayout(layoutForWorld(parallelism, world.worldSize), world.worldSize);
  const mesh = openMesh(layout, world.rank, all);
  return {
    epoch: world.epoch,
    rank: world.rank,
    size: world.worldSize,
    mesh,
    abort: (message) => all.abort(message),
    [Symbol.dispose]() {
      mesh[Symbol.dispose]();
      all[Symbol.dispose]();
      kernels.commCloseListener(listener.handle);
    },
  };
}

function openCommunicator(env: TrainingEnvironment, world: World, listener: number): Communicator {
  const { rank, worldSize: size, endpoints, epoch, secret, deadlineMs } = world;
  const name = `${env.WL_UID}-${env.WL_ATTEMPT}`;
  const handle = kernels.commOpen({ listener, rank, size, endpoints, name, epoch, secret, deadlineMs });
  return new Communicator(handle, rank, size);
}

function worldOfOne(parallelism: Parallelism, epoch = 0): RankWorld {
  const mesh = openMesh(new ParallelLayout(layoutForWorld(parallelism, 1), 1), 0, undefined);
  return { epoch, rank: 0, size: 1, mesh, abort() {}, [Symbol.dispose]: () => mesh[Symbol.dispose]() };
}
