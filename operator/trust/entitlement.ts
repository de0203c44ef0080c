// What a pod is entitled to: names, subjects and the secret of its job's attempt. Decided by what the API server says of the token and of the
// pod, never by what the pod says of itself.
import { isConditionTrue } from '#crds/conditions.ts';
import { label } from '#crds/names.ts';
import { TrainingJob } from '#crds/v1alpha1/index.ts';
import { podsOf, workerName, workersName } from '#operator/controllers/training-job/pods.ts';
import { isPodFinished } from '#operator/kube/core.ts';
import type { Pod } from '#operator/kube/core.ts';
import { jobUri } from '#runtime/api/credentials.ts';
import { jobSubjects } from '#runtime/api/subjects.ts';

/** The pod that a token is bound to. */
export interface BoundPod {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

export interface Entitlement {
  readonly pod: BoundPod;
  readonly jobUid: string;
  readonly attempt: number;
  readonly dnsNames: readonly string[];
  readonly uri: string;
  /** Subjects of the bus that the pod may publish to. */
  readonly subjects: readonly string[];
}

/** A request that is not granted. */
export class Refusal extends Error {
  readonly status: 400 | 401 | 403 | 429 | 503;
  /** After how many ms it may be granted. */
  readonly retryMs: number | undefined;

  constructor(status: Refusal['status'], reason: string, retryMs?: number) {
    super(reason);
    this.name = 'Refusal';
    this.status = status;
    this.retryMs = retryMs;
  }
}

/** What is known of a pod and the job that it says to be of. */
export interface Known {
  readonly pod: Pod | undefined;
  readonly job: TrainingJob | undefined;
}

/** Throws a Refusal that says why not. */
export function entitlementOf(bound: BoundPod, { pod, job }: Known): Entitlement {
  const refuse = (reason: string): never => {
    throw new Refusal(403, `pod ${bound.namespace}/${bound.name}: ${reason}`);
  };
  if (!pod || pod.metadata.uid !== bound.uid || pod.metadata.namespace !== bound.namespace)
    return refuse('no pod of this name and uid is known to be there');
  if (pod.metadata.deletionTimestamp !== undefined) return refuse('it is being deleted');
  if (isPodFinished(pod)) return refuse('it has ended');
  const owner = pod.metadata.ownerReferences?.find(({ controller }) => controller);
  if (owner?.kind !== TrainingJob.kind || owner.apiVersion !== TrainingJob.apiVersion)
    return refuse('it is not of a TrainingJob');
  if (!job || job.metadata.uid !== owner.uid || job.metadata.namespace !== bound.namespace)
    return refuse(`TrainingJob ${owner.name} is not known to be there`);
  if (job.metadata.deletionTimestamp !== undefined) return refuse(`TrainingJob ${owner.name} is being deleted`);
  for (const end of ['Complete', 'Failed'] as const)
    if (isConditionTrue(job, end)) return refuse(`TrainingJob ${owner.name} has ended`);
  const attempt = Number(pod.metadata.labels?.[label.attempt]);
  const wanted = job.status?.attempt ?? 0;
  if (attempt !== wanted) return refuse(`it is of attempt ${attempt}, the job is at ${wanted}`);
  // Another pod may say that the job owns it, but not have the name of one that runs.
  const rank = Number(pod.metadata.labels?.[label.rank]);
  if (!(rank < podsOf(job)) || workerName(job, rank) !== bound.name) return refuse(`TrainingJob ${owner.name} has no such pod`);
  const short = `${bound.name}.${workersName(job)}`;
  return {
    pod: bound,
    jobUid: owner.uid,
    attempt,
    dnsNames: podsOf(job) > 1 ? [short, `${short}.${bound.namespace}`, `${short}.${bound.namespace}.svc`] : [],
    uri: jobUri(bound.namespace, owner.uid),
    subjects: [jobSubjects(bound.namespace, owner.name)],
  };
}
