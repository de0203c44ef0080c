// Where runtimes are found, and who waits for one that does not exist yet.
import { ClusterTrainingRuntime, TrainingRuntime } from '#crds/v1alpha1/index.ts';
import type { Effective, RuntimeReference } from '#crds/v1alpha1/index.ts';
import type { Custom, KubeObject } from '#crds/resource.ts';
import { watched } from '#operator/framework/controller.ts';
import type { Watched } from '#operator/framework/controller.ts';
import type { Manager } from '#operator/framework/manager.ts';
import type { Store } from '#operator/framework/store.ts';
import { keyOf } from '#operator/kube/client.ts';
import type { Runtime } from './effective.ts';

/** An object whose pods start from a runtime. */
export type UsesRuntime = Custom<{ runtimeRef?: RuntimeReference | undefined }, { effective?: Effective | undefined }>;

/** Finds the runtime that an object names: of its own namespace, or of the cluster. */
export function createRuntimeFinder(manager: Manager): (object: UsesRuntime) => Runtime | undefined {
  const runtimes = manager.store(TrainingRuntime);
  const clusterRuntimes = manager.store(ClusterTrainingRuntime);
  return ({ metadata, spec: { runtimeRef } }) => {
    if (!runtimeRef) return undefined;
    const { kind, name } = runtimeRef;
    return kind === 'TrainingRuntime' ? runtimes.get({ namespace: metadata.namespace, name }) : clusterRuntimes.get({ name });
  };
}

/** Wakes the objects of a store that wait for a runtime when it appears. */
export function watchRuntimes<T extends UsesRuntime>(manager: Manager, store: Store<T>): Watched[] {
  const waiting = (kind: RuntimeReference['kind']) => (runtime: KubeObject) =>
    store
      .list(runtime.metadata.namespace)
      .filter(({ status, spec: { runtimeRef } }) => {
        return status?.effective === undefined && runtimeRef?.kind === kind && runtimeRef.name === runtime.metadata.name;
      })
      .map(keyOf);
  return [
    watched(manager.store(TrainingRuntime), waiting('TrainingRuntime')),
    watched(manager.store(ClusterTrainingRuntime), waiting('ClusterTrainingRuntime')),
  ];
}
