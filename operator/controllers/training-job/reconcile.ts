// Carries out what the plan of a TrainingJob says: actions, then one status write, then events.
import { randomBytes } from 'node:crypto';
import { annotation, ownManager } from '#crds/names.ts';
import { Model, ModelVersion, TrainingJob } from '#crds/v1alpha1/index.ts';
import type { ControllerSpec, ReconcileContext } from '#operator/framework/controller.ts';
import { watched } from '#operator/framework/controller.ts';
import type { Happening } from '#operator/framework/event-recorder.ts';
import type { Manager } from '#operator/framework/manager.ts';
import type { Store } from '#operator/framework/store.ts';
import { formatKey, keyOf } from '#operator/kube/client.ts';
import { Pod, Service } from '#operator/kube/core.ts';
import { PodGroup } from '#operator/kube/pod-group.ts';
import { inBatches, runsOf } from '../batches.ts';
import { deleteObject, deletePod, removePod } from '../deletion.ts';
import type { BuiltinSettings } from '../effective.ts';
import { createProgressBook } from '../progress-source.ts';
import type { ProgressSource } from '../progress-source.ts';
import { createRuntimeFinder, watchRuntimes } from '../runtimes.ts';
import { statusChange, writeStatus, writeStatusChange } from '../status-writer.ts';
import { Drafts, makesFirstPods, withSettings } from './first-pods.ts';
import { isBeginning, StatusPace } from './pace.ts';
import { planTrainingJob } from './plan.ts';
import type { Action, Observed } from './decision.ts';
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
  /** Whether a scheduler places pods, so that gangs matter; not where all pods start at once on one machine. */
  hasScheduler?: boolean;
  /** Makes secrets of jobs; random ones if absent. */
  secret?: () => string;
}

/** Adds the controller of TrainingJobs to a manager that does not run yet. */
export function addTrainingJobController(manager: Manager, options: TrainingJobOptions): void {
  const jobs = manager.store(TrainingJob);
  const pods = manager.store(Pod);
  const services = manager.store(Service);
  const secret = options.secret ?? (() => randomBytes(32).toString('base64url'));
  const groups = options.hasScheduler ? manager.optionalKind(PodGroup) : undefined;
  const models = manager.store(Model);
  const versions = manager.store(ModelVersion);

  const metrics = createJobMetrics(manager.metrics.registry);
  const findRuntime = createRuntimeFinder(manager);
  const pace = new StatusPace();
  const drafts = new Drafts();
  const reconcile: ControllerSpec['reconcile'] = async (key, { client, log }) => {
    const job = jobs.get(key);
    if (!job) {
      book.forget(key);
      pace.forget(formatKey(key));
      drafts.forget(formatKey(key));
      return {};
    }
    if (job.metadata.deletionTimestamp !== undefined) return {};
    if (job.metadata.annotations?.[annotation.paused] === 'true') {
      const { status } = drafts.over(formatKey(key), job);
      if (status && status !== job.status) await writeStatus(client, TrainingJob, job, status);
      return {};
    }
    if ((job.spec.managedBy ?? ownManager) !== ownManager) return {};
    const now = manager.clock.now();
    const observe = (current: TrainingJob): Observed => ({
      job: current,
      pods: pods.ownedBy(job.metadata.uid ?? ''),
      podGroups: groups?.store.ownedBy(job.metadata.uid ?? '') ?? [],
      gangs: groups ? (groups.served ? 'served' : 'absent') : 'unneeded',
      service: services.get({ namespace: job.metadata.namespace, name: workersName(job) }),
      runtime: findRuntime(job),
      model: models.get({ namespace: job.metadata.namespace, name: job.spec.output.model }),
      versions: versions.list(job.metadata.namespace),
      report: book.latest(key),
      freshSecret: secret(),
      builtin: options.builtin,
      removeAfterMs: options.removeAfterMs,
    });
    const emit = (events: readonly Happening[]) => events.forEach((event) => manager.events.emit(job, event));
    const current = drafts.over(formatKey(key), job);
    let [written, plan] = [job, planTrainingJob(observe(current), now)];
    let isFirst = makesFirstPods(job.status, plan);
    if (isBeginning(current.status, plan)) {
      const { status, events } = plan;
      plan = planTrainingJob(observe({ ...job, status }), now);
      isFirst = makesFirstPods(job.status, plan);
      if (!isFirst) {
        // It is written down together with what follows from it, and before any of that is done.
        written = await writeStatus(client, TrainingJob, job, plan.status);
        pace.decided(formatKey(key), now);
        metrics.changed(job.status, plan.status);
      }
      emit(events);
    }
    try {
      const actions = isFirst ? plan.actions.map((action) => withSettings(action, plan.status.effective)) : plan.actions;
      for (const run of runsOf(actions, stepOf)) await inBatches(run, (action) => carryOut(action, written, client));
    } catch (error) {
      if (isFirst) written = await writeStatus(client, TrainingJob, job, plan.status);
      return await tellRefusal(client, written, error, manager.clock);
    }
    if (plan.actions.some((action) => action.type === 'deleteJob')) return {};
    const change = statusChange(written, plan.status);
    const isDraft = written.status?.effective === undefined && plan.status.effective !== undefined;
    const draftMs = isDraft ? drafts.keep(formatKey(key), job, plan.status, now) : 0;
    const waitMs = draftMs > 0 ? draftMs : change ? pace.waitFor(formatKey(key), change, now) : 0;
    if (change && waitMs === 0) {
      await writeStatusChange(client, TrainingJob, written, change);
      metrics.changed(written.status, plan.status);
    }
    if (plan.status.state !== current.status?.state)
      log.info({ state: plan.status.state, attempt: plan.status.attempt }, 'job changed state');
    emit(plan.events);
    return { requeueAfterMs: waitMs === 0 ? plan.requeueAfterMs : Math.min(waitMs, plan.requeueAfterMs ?? Infinity) };
  };

  const jobsWith = (test: (job: TrainingJob) => boolean) => jobs.list().filter(test).map(keyOf);
  const controller = manager.add({
    name: 'trainingjob',
    primary: jobs as unknown as Store,
    owns: [pods, services, ...(groups ? [groups.store] : [])] as unknown as Store[],
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
  groups?.onChange(() => {
    for (const job of jobs.list()) controller.queue.add(formatKey(keyOf(job)));
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

/** The Service and the pods don't wait for each other. */
const stepOf = ({ type }: Action): string => (type === 'createService' ? 'createPod' : type);

async function carryOut(action: Action, job: TrainingJob, client: ReconcileContext['client']): Promise<void> {
  switch (action.type) {
    case 'deletePodGroup':
      await deleteObject(client, PodGroup, action.group);
      return;
    case 'createPodGroup':
      await client.createUnread(PodGroup, action.group);
      return;
    case 'createService':
      await client.createUnread(Service, action.service);
      return;
    case 'createPod':
      await client.createUnread(Pod, action.pod);
      return;
    case 'deletePod':
      await deletePod(client, action.pod);
      return;
    case 'removePod':
      await removePod(client, action.pod);
      return;
    case 'createModel':
      await client.createUnread(Model, action.model);
      return;
    case 'createVersion':
      await client.createUnread(ModelVersion, action.version);
      return;
    case 'deleteJob':
      await deleteObject(client, TrainingJob, job);
  }
}
