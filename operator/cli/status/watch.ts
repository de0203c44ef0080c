// `windlass status --watch`: jobs and services as they change, live on a terminal, in lines elsewhere.
import { setTimeout as sleep } from 'node:timers/promises';
import type { WriteStream } from 'node:tty';
import { isConditionTrue } from '#crds/conditions.ts';
import { InferenceService, TrainingJob } from '#crds/v1alpha1/index.ts';
import type { KubeObject } from '#crds/resource.ts';
import { KubeError } from '#operator/kube/errors.ts';
import { LossCurve } from '../loss-curve.ts';
import { jobView, serviceView } from '../object-view.ts';
import { openScreen } from '../screen.ts';
import { findObjects } from '../target/references.ts';
import type { Reference } from '../target/references.ts';
import type { Target } from '../target/target.ts';
import type { JobView, View } from '../view.ts';

export interface WatchOptions {
  readonly terminal: WriteStream;
  readonly signal: AbortSignal;
}

/** Status changes at most every 10 s per job, unless its state does. */
const lookEveryMs = { cluster: 1000, instance: 250 } as const;

/**
 * Shows until the signal, or until all jobs have ended if objects were named and none is a service. True if one of them failed. An API server that
 * is away for a moment is waited for.
 */
export async function watchObjects(target: Target, reference: Reference, { terminal, signal }: WatchOptions): Promise<boolean> {
  const kinds = reference.kind ? [reference.kind] : [TrainingJob, InferenceService];
  const losses = new Map<string, LossCurve>();
  const first = await findObjects(target, reference, kinds);
  const screen = openScreen(terminal, titleOf(reference, target));
  let objects = first;
  try {
    for (;;) {
      screen.show(viewOf(objects, losses));
      const jobs = objects.filter(({ kind }) => kind === TrainingJob.kind) as TrainingJob[];
      const over = reference.name !== undefined && jobs.length === objects.length && jobs.every(hasEnded);
      if (over || signal.aborted) return over && jobs.some((job) => isConditionTrue(job, 'Failed'));
      await sleep(lookEveryMs[target.kind], undefined, { signal }).catch(() => {});
      objects = await findObjects(target, reference, kinds).catch((error: unknown) => {
        if (error instanceof KubeError && (error.reason === 'Unavailable' || error.reason === 'Timeout')) return objects;
        throw error;
      });
    }
  } finally {
    screen.close();
  }
}

function viewOf(objects: readonly KubeObject[], losses: Map<string, LossCurve>): View {
  const jobs = objects.filter(({ kind }) => kind === TrainingJob.kind) as TrainingJob[];
  const services = objects.filter(({ kind }) => kind === InferenceService.kind) as InferenceService[];
  return {
    title: '',
    elapsedSeconds: 0,
    jobs: jobs.map((job) => watchedJob(job, losses)),
    services: services.map(serviceView),
  };
}

function watchedJob(job: TrainingJob, losses: Map<string, LossCurve>): JobView {
  const { uid = '' } = job.metadata;
  const curve = losses.get(uid) ?? new LossCurve();
  losses.set(uid, curve);
  const { progress } = job.status ?? {};
  if (progress?.step !== undefined && progress.loss !== undefined) curve.add(progress.step, progress.loss);
  return { ...jobView(job), losses: curve.values };
}

function hasEnded(job: TrainingJob): boolean {
  return isConditionTrue(job, 'Complete') || isConditionTrue(job, 'Failed');
}

function titleOf({ kind, name }: Reference, { namespace }: Target): string {
  const what = [kind?.kind, name].filter((part) => part !== undefined).join(' ') || 'all jobs and services';
  return `${what}${namespace === undefined ? '' : `  namespace ${namespace}`}`;
}
