// The jobs of the bench, and the pods that the operator makes of them as anybody else would send them.
import { annotation, label } from '#crds/names.ts';
import type { TrainingJob } from '#crds/v1alpha1/index.ts';
import { effectiveOf } from '#operator/controllers/effective.ts';
import { trainingJob } from '#operator/controllers/fixtures.ts';
import { workerPod } from '#operator/controllers/training-job/pods.ts';
import type { Pod } from '#operator/kube/core.ts';

/** A job of this many pods. */
export function jobOf(namespace: string, name: string, ranks: number, spec: object = {}): TrainingJob {
  const made = trainingJob(name, {
    parallelism: { dataReplicate: ranks },
    task: { pretrain: { steps: 400, batch: { sequences: ranks, length: 128, grains: ranks } } },
    ...spec,
  });
  return { ...made, metadata: { name, namespace } };
}

/** The same job elsewhere, which no operator touches. */
export function paused(job: TrainingJob, namespace: string): TrainingJob {
  return { ...job, metadata: { name: job.metadata.name, namespace, annotations: { [annotation.paused]: 'true' } } };
}

/**
 * The pods of a job as the operator would send them. Their label of who manages them differs in a letter, so that the operator does not watch
 * what is not its own.
 */
export function rawPods(job: TrainingJob, secret: string): Pod[] {
  const known = { ...job, metadata: { ...job.metadata, uid: crypto.randomUUID() } };
  const { dataReplicate } = job.spec.parallelism;
  return Array.from({ length: dataReplicate }, (_, rank) => {
    const options = { rank, attempt: 0, secret, restartsLeft: job.spec.faults.maxRestarts };
    const pod = workerPod(known, effectiveOf(undefined, { image: 'windlass:bench' }), options);
    return { ...pod, metadata: { ...pod.metadata, labels: { ...pod.metadata.labels, [label.managedBy]: 'windlasz' } } };
  });
}
