// The pods of a TrainingJob: names, environment contract, volumes.
import { label, storage } from '#crds/names.ts';
import type { Effective, TrainingJob } from '#crds/v1alpha1/index.ts';
import type { EnvVar, Pod } from '#operator/kube/core.ts';
import { podOf } from '../pod-shell.ts';

/** Time for a rank to save a checkpoint and end, and for its agent to say so. */
const graceSeconds = 30;

export const ranksOf = (_job: TrainingJob): number => 1;

/** Name of the pod of a rank: the same in every attempt, so that two attempts can't run at the same time. */
export function workerName(job: TrainingJob, rank: number): string {
  return `${job.metadata.name}-worker-${rank}`;
}

/** Attempt that a pod was made for. */
export function attemptOf(pod: Pod): number {
  return Number(pod.metadata.labels?.[label.attempt] ?? '0');
}

export interface WorkerOptions {
  rank: number;
  attempt: number;
  /** In-place restarts that the budget of the job still allows. */
  restartsLeft: number;
}

/** The pod of one rank. */
export function workerPod(job: TrainingJob, effective: Effective, options: WorkerOptions): Pod {
  const { name } = job.metadata;
  const { rank, attempt } = options;
  return podOf({
    owner: job,
    name: workerName(job, rank),
    labels: {
      [label.job]: name,
      [label.jobUid]: job.metadata.uid ?? '',
      [label.attempt]: String(attempt),
      [label.rank]: String(rank),
    },
    effective,
    template: job.spec.podTemplate,
    restartPolicy: 'Never',
    terminationGracePeriodSeconds: graceSeconds,
    claims: [
      { name: 'jobs', claimName: effective.jobsClaim, mountPath: storage.jobsMount },
      { name: 'models', claimName: effective.modelsClaim, mountPath: storage.modelsMount },
    ],
    container: { name: 'agent', command: ['windlass', 'agent'], env: environmentOf(job, effective, options) },
  });
}

function environmentOf(job: TrainingJob, effective: Effective, { rank, attempt, restartsLeft }: WorkerOptions): EnvVar[] {
  const { name, namespace = 'default', uid = '' } = job.metadata;
  const values: Record<string, string> = {
    WL_NAMESPACE: namespace,
    WL_NAME: name,
    WL_UID: uid,
    WL_ATTEMPT: String(attempt),
    WL_POD_NAME: workerName(job, rank),
    WL_MAX_RESTARTS: String(restartsLeft),
    WL_RANK: String(rank),
    WL_WORLD_SIZE: String(ranksOf(job)),
    WL_JOB: JSON.stringify(job.spec),
    WL_JOB_DIR: `${storage.jobsMount}/${namespace}/${name}`,
    WL_MODELS_DIR: `${storage.modelsMount}/${namespace}`,
    WL_MODELS_URI: `pvc://${effective.modelsClaim}/${namespace}`,
  };
  return Object.entries(values).map(([name, value]) => ({ name, value }));
}
