// Carries out what the plan of an InferenceService says: actions, then one status write, then events.
import { inBatches, runsOf } from '../batches.ts';
import { annotation } from '#crds/names.ts';
import { InferenceService, Model, ModelVersion } from '#crds/v1alpha1/index.ts';
import type { KubeObject } from '#crds/resource.ts';
import { watched } from '#operator/framework/controller.ts';
import type { Manager } from '#operator/framework/manager.ts';
import type { Store } from '#operator/framework/store.ts';
import { keyOf } from '#operator/kube/client.ts';
import type { KubeClient } from '#operator/kube/client.ts';
import { Node, Pod, PodDisruptionBudget, Service } from '#operator/kube/core.ts';
import type { BuiltinSettings } from '../effective.ts';
import { deletePod } from '../deletion.ts';
import { createRuntimeFinder, watchRuntimes } from '../runtimes.ts';
import { refusal, writeStatus } from '../status-writer.ts';
import { planInferenceService } from './plan.ts';
import { createStartupBook } from './startups.ts';
import type { Action } from './plan.ts';

export interface InferenceServiceOptions {
  builtin: BuiltinSettings;
  /** Where clients reach the Service of an InferenceService. Its DNS name in the cluster if absent. */
  urlOf?: (front: Service) => string | undefined;
  /** Services reconciled at the same time. */
  workers?: number;
}

/** Adds the controller of InferenceServices to a manager that does not run yet. */
export function addInferenceServiceController(manager: Manager, options: InferenceServiceOptions): void {
  const services = manager.store(InferenceService);
  const pods = manager.store(Pod);
  const fronts = manager.store(Service);
  const models = manager.store(Model);
  const versions = manager.store(ModelVersion);
  const budgets = manager.store(PodDisruptionBudget);
  const nodes = manager.store(Node);
  const startups = createStartupBook(manager.clock);
  const findRuntime = createRuntimeFinder(manager);
  const urlOf = options.urlOf ?? clusterUrl;

  const servicesOf = (object: KubeObject, test: (service: InferenceService) => boolean) =>
    services.list(object.metadata.namespace).filter(test).map(keyOf);
  const servicesOn = (node: string) =>
    services
      .list()
      .filter(({ metadata }) => pods.ownedBy(metadata.uid ?? '').some(({ spec }) => spec.nodeName === node))
      .map(keyOf);
  manager.add({
    name: 'inferenceservice',
    primary: services as unknown as Store,
    owns: [pods as unknown as Store, fronts as unknown as Store, budgets as unknown as Store],
    watches: [
      watched(models, (model) => servicesOf(model, ({ spec }) => spec.model.name === model.metadata.name)),
      watched(versions, (version) =>
        servicesOf(
          version,
          ({ spec: { model } }) =>
            model.name === version.spec.model ||
            model.version === version.metadata.name ||
            (model.fromTrainingJob !== undefined && model.fromTrainingJob.name === version.spec.source?.job),
        ),
      ),
      watched(nodes, ({ metadata }) => servicesOn(metadata.name)),
      ...watchRuntimes(manager, services),
    ],
    workers: options.workers ?? 4,
    reconcile: async (key, { client, log, signal }) => {
      const service = services.get(key);
      if (!service || service.metadata.deletionTimestamp !== undefined) return {};
      if (service.metadata.annotations?.[annotation.paused] === 'true') return {};
      const { namespace } = service.metadata;
      const own = pods.ownedBy(service.metadata.uid ?? '');
      const plan = planInferenceService(
        {
          service,
          pods: own,
          startups: await startups.ask(service.metadata.uid ?? '', own, signal),
          front: fronts.get(key),
          model: service.spec.model.name === undefined ? undefined : models.get({ namespace, name: service.spec.model.name }),
          versions: versions.list(namespace),
          runtime: findRuntime(service),
          builtin: options.builtin,
          urlOf,
          budget: budgets.get(key),
          cordoned: new Set(nodes.list().flatMap(({ metadata, spec }) => (spec.unschedulable ? [metadata.name] : []))),
        },
        manager.clock.now(),
      );
      try {
        for (const run of runsOf(plan.actions, ({ type }) => type)) await inBatches(run, (action) => carryOut(action, client));
      } catch (error) {
        throw await refusal(client, InferenceService, service, error, manager.clock);
      }
      await writeStatus(client, InferenceService, service, plan.status);
      const { model } = plan.status;
      if (model?.state !== service.status?.model?.state)
        log.info({ state: model?.state, target: model?.target }, 'service changed state');
      for (const event of plan.events) manager.events.emit(service, event);
      return { requeueAfterMs: plan.againAfterMs };
    },
  });
}

async function carryOut(action: Action, client: KubeClient): Promise<void> {
  switch (action.type) {
    case 'createPod':
      await client.createUnread(Pod, action.pod);
      return;
    case 'deletePod':
      await deletePod(client, action.pod);
      return;
    case 'createFront':
      await client.createUnread(Service, action.front);
      return;
    case 'updateFront':
      await client.update(Service, action.front);
      return;
    case 'createBudget':
      await client.createUnread(PodDisruptionBudget, action.budget);
      return;
    case 'updateBudget':
      await client.update(PodDisruptionBudget, action.budget);
  }
}

/** The URL of a Service by its address, where nobody resolves names: the embedded default. */
export function addressUrl({ spec }: Service): string | undefined {
  return spec.clusterIP === undefined ? undefined : `http://${spec.clusterIP}:${spec.ports[0]?.port}`;
}

function clusterUrl({ metadata, spec }: Service): string {
  return `http://${metadata.name}.${metadata.namespace}.svc:${spec.ports[0]?.port}`;
}
