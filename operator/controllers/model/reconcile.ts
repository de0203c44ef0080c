// Controllers of Model and ModelVersion: they only say what there is.
import { applyConditions } from '#crds/conditions.ts';
import { Model, ModelVersion } from '#crds/v1alpha1/index.ts';
import type { ModelStatus, ModelVersionStatus } from '#crds/v1alpha1/index.ts';
import type { Manager } from '#operator/framework/manager.ts';
import { watched } from '#operator/framework/controller.ts';
import type { Store } from '#operator/framework/store.ts';
import { isoTime } from '#operator/kube/clock.ts';
import { writeStatus } from '../status-writer.ts';

/** Status of a model: its newest version and how many there are. `versions` are those of the namespace. */
export function modelStatus(model: Model, versions: readonly ModelVersion[], now: number): ModelStatus {
  const own = versions.filter((version) => version.spec.model === model.metadata.name);
  const newest = [...own].sort((a, b) => b.spec.number - a.spec.number)[0];
  const generation = model.metadata.generation ?? 0;
  const ready = newest
    ? ({ type: 'Ready', status: 'True', reason: 'HasVersion', message: `newest version: ${newest.metadata.name}` } as const)
    : ({ type: 'Ready', status: 'False', reason: 'NoVersion', message: 'no version has been published yet' } as const);
  return {
    observedGeneration: generation,
    conditions: applyConditions(model.status?.conditions, [ready], generation, isoTime(now)),
    latestVersion: newest?.metadata.name,
    versions: own.length,
  };
}

/** A version is ready from the start: it is made only after its files are complete and checksummed. */
export function versionStatus(version: ModelVersion, now: number): ModelVersionStatus {
  const generation = version.metadata.generation ?? 0;
  const ready = { type: 'Ready', status: 'True', reason: 'Published', message: `${version.spec.bytes} bytes` } as const;
  return {
    observedGeneration: generation,
    conditions: applyConditions(version.status?.conditions, [ready], generation, isoTime(now)),
  };
}

/** Adds both controllers to a manager that does not run yet. */
export function addModelControllers(manager: Manager): void {
  const models = manager.store(Model);
  const versions = manager.store(ModelVersion);
  manager.add({
    name: 'model',
    primary: models as unknown as Store,
    watches: [watched(versions, ({ metadata, spec }) => [{ namespace: metadata.namespace, name: spec.model }])],
    reconcile: async (key, { client }) => {
      const model = models.get(key);
      if (!model || model.metadata.deletionTimestamp !== undefined) return {};
      const status = modelStatus(model, versions.list(model.metadata.namespace), manager.clock.now());
      await writeStatus(client, Model, model, status);
      return {};
    },
  });
  manager.add({
    name: 'modelversion',
    primary: versions as unknown as Store,
    reconcile: async (key, { client }) => {
      const version = versions.get(key);
      if (!version || version.metadata.deletionTimestamp !== undefined) return {};
      await writeStatus(client, ModelVersion, version, versionStatus(version, manager.clock.now()));
      return {};
    },
  });
}
