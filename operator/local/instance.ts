// The embedded default: the controllers on the in-memory API, the process kubelet below them, and everything kept in one folder.
import { join } from 'node:path';
import { rm } from 'node:fs/promises';
import type { Server } from 'node:http';
import type { Logger } from 'pino';
import { resources } from '#crds/v1alpha1/index.ts';
import { addressUrl } from '#operator/controllers/inference-service/reconcile.ts';
import { addControllers } from '#operator/controllers/main.ts';
import { Manager } from '#operator/framework/manager.ts';
import type { KubeClient } from '#operator/kube/client.ts';
import { Pod, Secret, Service } from '#operator/kube/core.ts';
import { openPersistedKube, SnapshotError } from '#operator/kube/snapshot.ts';
import type { PersistedKube } from '#operator/kube/snapshot.ts';
import { createInProcessBus } from '#runtime/api/bus.ts';
import type { EventBus } from '#runtime/api/bus.ts';
import { serveBus } from '#runtime/api/bus-socket.ts';
import { WindlassError } from '#runtime/api/errors.ts';
import { serveControl } from './control.ts';
import { answerCall } from './control-api.ts';
import { ProcessKubelet } from './kubelet.ts';
import type { StateDir } from './state-dir.ts';

export interface InstanceOptions {
  readonly state: StateDir;
  readonly workingDir: string;
  /** What `windlass` in a container's command stands for. */
  readonly windlassCommand: readonly string[];
  readonly log: Logger;
  /** Folder where the processes of pods leave their parts of a profile. */
  readonly profileDir?: string | undefined;
  /** What went wrong outside of any object's status. */
  readonly onError: (error: WindlassError, object: string) => void;
  /** Another command asks this instance to end. */
  readonly onStopRequest: () => void;
}

export interface Instance {
  readonly client: KubeClient;
  readonly bus: EventBus;
  /** Ends pods in their grace time, controllers first, and writes the last state to disk. */
  stop(): Promise<void>;
}

/** Image of pods; here it stands for this checkout. */
const localImage = 'windlass:local';

/** Starts an instance on a state folder, resuming what it holds. The caller holds the folder's lock. Throws WL_STATE_CORRUPT. */
export async function startInstance(options: InstanceOptions): Promise<Instance> {
  const { state, log } = options;
  await using started = new AsyncDisposableStack();
  const persisted = await openObjects(state, log);
  const client = persisted.kube;
  const objects = async () => {
    const lists = await Promise.all([...resources, Pod, Service].map((type) => client.list(type)));
    return lists.flatMap(({ items }) => items);
  };
  const control = await serveControl(state.controlSocket, {
    objects,
    api: (call) => answerCall(client, call),
    stop: options.onStopRequest,
  });
  started.defer(() => closeControl(control, state.controlSocket));
  started.defer(() => persisted.close());

  const bus = createInProcessBus();
  await rm(state.busSocket, { force: true });
  const busServer = await serveBus(bus, state.busSocket);
  started.defer(() => {
    busServer.close();
    return bus.close();
  });

  const manager = new Manager({ client, log, instance: 'windlass-local' });
  addControllers(manager, { builtin: { image: localImage }, progress: bus, urlOf: addressUrl });
  const kubelet = new ProcessKubelet({
    client,
    stateDir: state.path,
    workingDir: options.workingDir,
    windlassCommand: options.windlassCommand,
    nodeEnv: {
      WL_BUS: `unix:${state.busSocket}`,
      ...(options.profileDir === undefined ? {} : { WL_PROFILE: options.profileDir }),
    },
    onError(error, object) {
      log.error({ err: error, code: error.code, object }, error.message);
      options.onError(error, object);
    },
  });
  started.defer(() => kubelet.stop());
  await kubelet.start();
  started.defer(() => manager.stop());
  await manager.start();

  const running = started.move();
  return { client, bus, stop: () => running.disposeAsync() };
}

async function openObjects(state: StateDir, log: Logger): Promise<PersistedKube> {
  try {
    return await openPersistedKube(join(state.path, 'objects'), { alsoServes: [Secret] }, (error) =>
      log.error({ err: error }, 'the objects could not be saved'),
    );
  } catch (error) {
    if (error instanceof SnapshotError) throw new WindlassError('WL_STATE_CORRUPT', error.message, { cause: error });
    throw error;
  }
}

async function closeControl(control: Server, path: string): Promise<void> {
  await new Promise((resolve) => {
    control.close(resolve);
    control.closeAllConnections();
  });
  await rm(path, { force: true });
}
