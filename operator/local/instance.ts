// The embedded default: the controllers on the in-memory API, the process kubelet below them, and everything kept in one folder.
import { join } from 'node:path';
import { rm } from 'node:fs/promises';
import type { Logger } from 'pino';
import { resources } from '#crds/v1alpha1/index.ts';
import { addressUrl } from '#operator/controllers/inference-service/reconcile.ts';
import { addControllers } from '#operator/controllers/main.ts';
import { Manager } from '#operator/framework/manager.ts';
import type { KubeClient } from '#operator/kube/client.ts';
import { Pod, Service } from '#operator/kube/core.ts';
import { openPersistedKube } from '#operator/kube/snapshot.ts';
import { createInProcessBus } from '#runtime/api/bus.ts';
import type { EventBus } from '#runtime/api/bus.ts';
import { serveBus } from '#runtime/api/bus-socket.ts';
import type { WindlassError } from '#runtime/api/errors.ts';
import { serveControl } from './control.ts';
import { ProcessKubelet } from './kubelet.ts';
import { makeStateDir } from './state-dir.ts';
import type { StateDir } from './state-dir.ts';

export interface InstanceOptions {
  readonly state: StateDir;
  readonly workingDir: string;
  /** What `windlass` in a container's command stands for. */
  readonly windlassCommand: readonly string[];
  readonly log: Logger;
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

/** Starts an instance on a state folder, resuming what it holds. Throws WL_STATE_IN_USE. */
export async function startInstance(options: InstanceOptions): Promise<Instance> {
  const { state, log } = options;
  makeStateDir(state);
  let client: KubeClient | undefined;
  const objects = async () => {
    if (!client) return [];
    const lists = await Promise.all([...resources, Pod, Service].map((type) => client!.list(type)));
    return lists.flatMap(({ items }) => items);
  };
  const control = await serveControl(state.controlSocket, { objects, stop: options.onStopRequest });
  const persisted = await openPersistedKube(join(state.path, 'objects'), {}, (error) =>
    log.error({ err: error }, 'the objects could not be saved'),
  );
  client = persisted.kube;
  const bus = createInProcessBus();
  await rm(state.busSocket, { force: true });
  const busServer = await serveBus(bus, state.busSocket);

  const manager = new Manager({ client, log, instance: 'windlass-local' });
  const builtin = { image: localImage };
  addControllers(manager, { builtin, progress: bus, urlOf: addressUrl });
  const kubelet = new ProcessKubelet({
    client,
    stateDir: state.path,
    workingDir: options.workingDir,
    windlassCommand: options.windlassCommand,
    nodeEnv: { WL_BUS: `unix:${state.busSocket}` },
    onError: options.onError,
  });
  await kubelet.start();
  await manager.start();

  return {
    client,
    bus,
    async stop() {
      await manager.stop();
      await kubelet.stop();
      await persisted.close();
      busServer.close();
      bus.close();
      await new Promise((resolve) => {
        control.close(resolve);
        control.closeAllConnections();
      });
      await rm(state.controlSocket, { force: true });
    },
  };
}
