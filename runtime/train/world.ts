// Joins the ranks of a job: from the agent's word about the world to the communicators of this rank's groups.
import { setTimeout as sleep } from 'node:timers/promises';
import * as kernels from '#kernels/binding.ts';
import type { TrainingEnvironment } from '#runtime/api/environment.ts';
import { WindlassError } from '#runtime/api/errors.ts';
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

/** How a job is spread over ranks, and what becomes of the bytes between them. */
interface Spread {
  readonly parallelism: Parallelism;
  readonly encryption: 'none' | 'tls';
}

/** Resolves when all ranks are connected. A job of one pod needs nobody. */
export async function joinWorld(env: TrainingEnvironment, link: RankLink, spread: Spread): Promise<RankWorld> {
  const { parallelism } = spread;
  if (env.WL_WORLD_SIZE === 1) return worldOfOne(parallelism);
  const listener = kernels.commListen(env.WL_POD_IP === undefined ? {} : { address: env.WL_POD_IP });
  const world = await link.announce(listener.endpoint);
  if (world.worldSize === 1) {
    kernels.commCloseListener(listener.handle);
    return worldOfOne(parallelism, world.epoch);
  }
  const all = openCommunicator(env, world, listener.handle, spread);
  await all.ready();
  const mesh = openMesh(layoutOf(parallelism, world.worldSize), world.rank, all);
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

/** How long a rank that has done its part stays for peers that are slow to take what it sent. */
const farewellMs = 10_000;

/** To be awaited before the process of a rank ends: what it has sent and nobody has taken yet would go with it. */
export async function farewell(): Promise<void> {
  await Promise.race([kernels.commFarewell(), sleep(farewellMs, undefined, { ref: false })]);
}

function openCommunicator(env: TrainingEnvironment, world: World, listener: number, { encryption }: Spread): Communicator {
  const { rank, worldSize: size, endpoints, epoch, secret, deadlineMs } = world;
  const name = `${env.WL_UID}-${env.WL_ATTEMPT}`;
  const handle = kernels.commOpen({
    listener,
    rank,
    size,
    endpoints,
    name,
    epoch,
    secret,
    deadlineMs,
    tls: encryption === 'tls',
  });
  return new Communicator(handle, rank, size);
}

function worldOfOne(parallelism: Parallelism, epoch = 0): RankWorld {
  const mesh = openMesh(layoutOf(parallelism, 1), 0, undefined);
  return { epoch, rank: 0, size: 1, mesh, abort() {}, [Symbol.dispose]: () => mesh[Symbol.dispose]() };
}

/** The layout of the job in a world of this size, which is smaller than the job's own where ranks were lost. */
function layoutOf(parallelism: Parallelism, size: number): ParallelLayout {
  const layout = layoutForWorld(parallelism, size);
  if (layout) return new ParallelLayout(layout, size);
  const { pipeline, tensor } = parallelism;
  throw new WindlassError(
    'WL_MANIFEST_INVALID',
    `spec.elastic allows a world of ${size} ranks, but pipeline ${pipeline} and tensor ${tensor} stay as they are, and dataReplicate and dataShard can only be halved`,
    { details: { path: 'spec.elastic' } },
  );
}
