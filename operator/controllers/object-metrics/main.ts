// Tells Prometheus about the objects that the operator looks after.
import type { Registry } from 'prom-client';
import type { KubeObject, ResourceType } from '#crds/resource.ts';
import { InferenceService, Model, TrainingJob } from '#crds/v1alpha1/index.ts';
import type { Store } from '#operator/framework/store.ts';
import { register } from './family.ts';
import type { Family } from './family.ts';
import { inferenceServiceFamilies, modelFamilies } from './services-and-models.ts';
import { trainingJobFamilies } from './training-jobs.ts';

/** Families by the label that carries the name of their object. */
export const objectFamilies = {
  trainingjob: trainingJobFamilies,
  inferenceservice: inferenceServiceFamilies,
  model: modelFamilies,
} as const;

/** Where objects are found: a manager that does not run yet. */
interface Stores {
  store<T extends KubeObject>(type: ResourceType<T>): Pick<Store<T>, 'list'>;
}

/** `leads`: whether this process is the one that tells; of several, one must, or sums would count twice. */
export function addObjectMetrics(registry: Registry, stores: Stores, leads: () => boolean): void {
  const add = <T extends KubeObject>(kind: string, families: readonly Family<T>[], type: ResourceType<T>) => {
    const store = stores.store(type);
    for (const family of families) register(registry, family, kind, () => (leads() ? store.list() : []));
  };
  add('trainingjob', trainingJobFamilies, TrainingJob);
  add('inferenceservice', inferenceServiceFamilies, InferenceService);
  add('model', modelFamilies, Model);
}
