// Gives each job and each service the NetworkPolicy of its pods, puts right what was changed in it, and leaves its end to the garbage collector.
import { deepEqual } from '#crds/rules.ts';
import { InferenceService, ModelVersion, TrainingJob } from '#crds/v1alpha1/index.ts';
import type { KubeObject, ResourceType } from '#crds/resource.ts';
import { watched } from '#operator/framework/controller.ts';
import type { Watched } from '#operator/framework/controller.ts';
import type { Manager } from '#operator/framework/manager.ts';
import type { Store } from '#operator/framework/store.ts';
import { keyOf } from '#operator/kube/client.ts';
import { NetworkPolicy } from '#operator/kube/core.ts';
import { jobPolicy, servicePolicy } from './policy.ts';
import type { NetworkSettings } from './policy.ts';

/** Adds both controllers to a manager that does not run yet. */
export function addNetworkControllers(manager: Manager, settings: NetworkSettings): void {
  const services = manager.store(InferenceService);
  const versions = manager.store(ModelVersion);
  add(manager, 'trainingjob-network', TrainingJob, (job) => jobPolicy(job, settings));
  add(
    manager,
    'inferenceservice-network',
    InferenceService,
    (service) =>
      servicePolicy(
        service,
        versions.list(service.metadata.namespace).filter((version) => mayServe(service, version)),
      ),
    [
      watched(versions, (version) =>
        services
          .list(version.metadata.namespace)
          .filter((service) => mayServe(service, version))
          .map(keyOf),
      ),
    ],
  );
}

function mayServe({ spec: { model } }: InferenceService, { metadata, spec }: ModelVersion): boolean {
  const { name, version, fromTrainingJob } = model;
  return (
    name === spec.model ||
    version === metadata.name ||
    (fromTrainingJob !== undefined && fromTrainingJob.name === spec.source?.job)
  );
}

function add<T extends KubeObject>(
  manager: Manager,
  name: string,
  type: ResourceType<T>,
  policyOf: (owner: T) => NetworkPolicy,
  watches: Watched[] = [],
): void {
  const owners = manager.store(type);
  const policies = manager.store(NetworkPolicy);
  manager.add({
    name,
    primary: owners as unknown as Store,
    owns: [policies as unknown as Store],
    watches,
    reconcile: async (key, { client, log }) => {
      const owner = owners.get(key);
      if (!owner || owner.metadata.deletionTimestamp !== undefined) return {};
      const wanted = policyOf(owner);
      const found = policies.get(keyOf(wanted));
      if (!found) {
        await client.createUnread(NetworkPolicy, wanted);
        return {};
      }
      const isOurs = found.metadata.ownerReferences?.some(({ uid }) => uid === owner.metadata.uid);
      if (!isOurs)
        log.warn({ policy: wanted.metadata.name }, 'a NetworkPolicy of this name belongs to somebody else; it is left alone');
      else if (!deepEqual(found.spec, wanted.spec)) await client.update(NetworkPolicy, { ...found, spec: wanted.spec });
      return {};
    },
  });
}
