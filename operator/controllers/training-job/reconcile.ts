// Carries out what the plan of a TrainingJob says: actions, then one status write, then events.
import { randomBytes } from 'node:crypto';
import { annotation } from '#crds/names.ts';
import { Model, ModelVersion, TrainingJob } from '#crds/v1alpha1/index.ts';
import type { ControllerSpec, ReconcileContext } from '#operator/framework/controller.ts';
import { watched } from '#operator/framework/controller.ts';
import type { Manager } from '#operator/framework/manager.ts';
import type { Store } from '#operator/framework/store.ts';
import { formatKey, keyOf } from '#operator/kube/client.ts';
import { Pod, Service } from '#operator/kube/core.ts';
import { inBatches, runsOf } from '../batches.ts';
import { deleteObject, deletePod, removePod } from '../deletion.ts';
import type { BuiltinSettings } from '../effective.ts';
import { createProgressBook } from '../progress-source.ts';
import type { ProgressSource } from '../progress-source.ts';
import { createRuntimeFinder, watchRuntimes } from '../runtimes.ts';
import { writeStatus } from '../status-writer.ts';
import { planTrainingJob } from './plan.ts';
import type { Action } from './decision.ts';
import { workersName } from './pods.ts';
import { tellRefusal } from './refusal.ts';
import { createJobMetrics } from './job-metrics.ts';
import { newsDueIn } from './running.ts';

export interface TrainingJobOptions {
  builtin: BuiltinSettings;
  progress: ProgressSource;
  /** Jobs reconciled at the same time. */
  workers?: number;
  /** Milliseconds after its grace time at which a pod that does not end is removed by force. A minute if absent. */
  removeAfterMs?: number;
  /** Makes secrets of jobs; random ones if absent. */
  secret?: () => string;
}

/** Adds the controller of TrainingJobs to a manager that does not run yet. */
export function addTrainingJobController(manager: Manager, options: TrainingJobOptions): void {
  const jobs = manager.store(TrainingJob);
  const pods = manager.store(Pod);
  const services = manager.store(Service);
  const secret = options.secret ?? (() => randomBytes(32).toString('base64url'));
  const models = manager.store(Model);
  const versions = manager.store(ModelVersion);

  const metrics = createJobMetrics(manager.metrics.registry);
  const findRuntime = createRuntimeFinder(manager);
  const reconcile: ControllerSpec['reconcile'] = async (key, { client, log }) => {
    const job = jobs.get(key);
    if (!job) {
      book.forget(key);
      return {};
    }
    if (job.metadata.deletionTimestamp !== undefined || job.metadata.annotations?.[annotation.paused] === 'true') return {};
    const plan = planTrainingJob(
      {
        job,
        pods: pods.ownedBy(job.metadata.uid ?? ''),
        service: services.get({ namespace: job.metadata.namespace, name: workersName(job) }),
        runtime: findRuntime(job),
        model: models.get({ namespace: job.metadata.namespace, name: job.spec.output.model }),
        versions: versions.list(job.metadata.namespace),
        report: book.latest(key),
        freshSecret: secret(),
        builtin: options.builtin,
        removeAfterMs: options.removeAfterMs,
      },
      manager.clock.now(),
    );
    try {
      for (const run of runsOf(plan.actions, ({ type }) => type)) await inBatches(run, (action) => carryOut(action, job, client));
    } catch (error) {
      return await tellRefusal(client, job, error, manager.clock);
    }
    if (plan.actions.some((action) => action.type === 'deleteJob')) return {};
    await writeStatus(client, TrainingJob, job, plan.status);
    metrics.changed(job.status, plan.status);
    if (plan.status.state !== job.status?.state)
      log.info({ state: plan.status.state, attempt: plan.status.attempt }, 'job changed state');
    for (const event of plan.events) manager.events.emit(job, event);
    return { requeueAfterMs: plan.requeueAfterMs };
  };

  const jobsWith = (test: (job: TrainingJob) => boolean) => jobs.list().filter(test).map(keyOf);
  const controller = manager.add({
    name: 'trainingjob',
    primary: jobs as unknown as Store,
    owns: [pods as unknown as Store, services as unknown as Store],
    watches: [
      watched(models, ({ metadata }) =>
        jobsWith((job) => job.metadata.namespace === metadata.namespace && job.spec.output.model === metadata.name),
      ),
      watched(versions, ({ spec }) => jobsWith((job) => job.metadata.uid === spec.source?.uid)),
      ...watchRuntimes(manager, jobs),
    ],
    workers: options.workers ?? 4,
    reconcile,
  });
  const book = createProgressBook(options.progress, (key) => {
    const job = jobs.get(key);
    if (job) controller.queue.addAfter(formatKey(key), newsDueIn(job, book.latest(key), manager.clock.now()));
  });
  manager.addService({
    start: async () => {},
    stop: async () => book.close(),
  });
}

async function carryOut(action: Action, job: TrainingJob, client: ReconcileContext['client']): Promise<void> {
  switch (action.type) {
    case 'createService':
      await client.create(Service, action.service);
      return;
    case 'createPod':
      await client.create(Pod, action.pod);
      return;
    case 'deletePod':
      await deletePod(client, action.pod);
      return;
    case 'removePod':
      await removePod(client, action.pod);
      return;
    case 'createModel':
      await client.create(Model, action.model);
      return;
    case 'createVersion':
      await client.create(ModelVersion, action.version);
      return;
    case 'deleteJob':
      await deleteObject(client, TrainingJob, job);
  }
}
