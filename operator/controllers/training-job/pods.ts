// The children of a TrainingJob while it runs: a pod per rank, and the Service by which the pods find each other.
import { label, managedBy, storage } from '#crds/names.ts';
import { ranksIn } from '#crds/v1alpha1/index.ts';
import type { CredentialsSettings } from '../effective.ts';
import type { Effective, TrainingJob } from '#crds/v1alpha1/index.ts';
import type { Affinity, EnvVar, Pod, Service } from '#operator/kube/core.ts';
import { tokenAudience } from '#runtime/api/credentials.ts';
import { controllerReference, podOf } from '../pod-shell.ts';
import type { PodToken } from '../pod-shell.ts';
import { secretMounts, secretVariables } from '../remote-secrets.ts';
import type { SecretMount } from '../remote-secrets.ts';

/** Time for a rank to save a checkpoint and end, and for its agent to say so. */
export const graceSeconds = 30;

/** Port of the rendezvous in the pod of index 0. Each pod has an address of its own, so one number serves all jobs. */
const rendezvousPort = 29_400;

/** Ranks that the layout asks for. */
export function ranksOf(job: TrainingJob): number {
  return ranksIn(job.spec.parallelism);
}

/** Pods of the job: one for each rank that it can use. */
export function podsOf(job: TrainingJob): number {
  return Math.max(ranksOf(job), job.spec.elastic?.maxRanks ?? 0);
}

/** Ranks without which the job can't go on. */
export function fewestRanks(job: TrainingJob): number {
  return job.spec.elastic?.minRanks ?? podsOf(job);
}

/** Name of the pod of a rank: the same in every attempt, so that two attempts can't run at the same time. */
export function workerName(job: TrainingJob, rank: number): string {
  return `${job.metadata.name}-worker-${rank}`;
}

/** Attempt that a pod was made for. */
export function attemptOf(pod: Pod): number {
  return Number(pod.metadata.labels?.[label.attempt] ?? '0');
}

/** Name of the headless Service; never that of a Service that serves a model. */
export function workersName(job: TrainingJob): string {
  return `${job.metadata.name}-workers`;
}

/** Gives each pod of the job a name that the others can resolve as soon as it has an address. */
export function workersService(job: TrainingJob): Service {
  const { name, namespace, uid = '' } = job.metadata;
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: {
      name: workersName(job),
      ...(namespace === undefined ? {} : { namespace }),
      labels: { [label.managedBy]: managedBy, [label.job]: name },
      ownerReferences: [controllerReference(job)],
    },
    spec: {
      type: 'ClusterIP',
      clusterIP: 'None',
      publishNotReadyAddresses: true,
      selector: { [label.jobUid]: uid },
      ports: [{ name: 'rendezvous', port: rendezvousPort, targetPort: rendezvousPort }],
    },
  };
}

/** What the pods of an attempt know each other by, as a pod of it carries it. */
export function secretOf(pod: Pod): string | undefined {
  return pod.spec.containers[0]?.env?.find(({ name }) => name === 'WL_SECRET')?.value;
}

/** Proves to the credentials service which pod this is; the kubelet renews it, and it ends with the pod. */
const podToken: PodToken = { audience: tokenAudience, mountPath: '/var/run/secrets/windlass', file: 'token', seconds: 3600 };

export interface WorkerOptions {
  rank: number;
  attempt: number;
  /** Shared by all pods of the attempt. */
  secret: string;
  /** In-place restarts that the budget of the job still allows. */
  restartsLeft: number;
  /** Nodes that the pod must not come to. */
  excludedNodes?: readonly string[] | undefined;
  /** PodGroup that the pod is placed with, if any. */
  group?: string | undefined;
  /** Event bus to report to. */
  bus?: string | undefined;
  /** Where the pod gets the secret, and certificates; absent: the secret stands in the pod. */
  credentials?: CredentialsSettings | undefined;
}

/** The pod of one rank. */
export function workerPod(job: TrainingJob, effective: Effective, options: WorkerOptions): Pod {
  const { name } = job.metadata;
  const { rank, attempt, group } = options;
  const { priorityClassName } = job.spec.scheduling ?? {};
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
    ...(podsOf(job) > 1 ? { subdomain: workersName(job) } : {}),
    ...(priorityClassName === undefined ? {} : { priorityClassName }),
    ...(group === undefined ? {} : { schedulingGroup: { podGroupName: group } }),
    restartPolicy: 'Never',
    terminationGracePeriodSeconds: graceSeconds,
    ...(options.excludedNodes?.length ? { affinity: awayFrom(options.excludedNodes) } : {}),
    claims: [
      { name: 'jobs', claimName: effective.jobsClaim, mountPath: storage.jobsMount },
      { name: 'models', claimName: effective.modelsClaim, mountPath: storage.modelsMount },
    ],
    ...(options.credentials ? { tokens: [podToken] } : {}),
    secrets: secretsOf(job),
    container: { name: 'agent', command: ['windlass', 'agent'], env: environmentOf(job, effective, options) },
  });
}

function secretsOf({ spec: { data, model, output } }: TrainingJob): SecretMount[] {
  return secretMounts({
    data: data.secretRef,
    tokenizer: data.tokenizer?.secretRef,
    model: model.secretRef,
    output: output.secretRef,
  });
}

/** Keeps a pod away from nodes, by the label that carries a node's name. */
function awayFrom(nodes: readonly string[]): Affinity {
  const expression = { key: 'kubernetes.io/hostname', operator: 'NotIn' as const, values: [...nodes] };
  return {
    nodeAffinity: {
      requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [{ matchExpressions: [expression] }] },
    },
  };
}

function environmentOf(job: TrainingJob, effective: Effective, options: WorkerOptions): EnvVar[] {
  const { rank, attempt, restartsLeft, bus, credentials } = options;
  const { name, namespace = 'default', uid = '' } = job.metadata;
  const values: Record<string, string> = {
    WL_NAMESPACE: namespace,
    WL_NAME: name,
    WL_UID: uid,
    WL_ATTEMPT: String(attempt),
    WL_POD_NAME: workerName(job, rank),
    WL_MAX_RESTARTS: String(restartsLeft),
    WL_RANK: String(rank),
    WL_WORLD_SIZE: String(podsOf(job)),
    WL_JOB: JSON.stringify(job.spec),
    WL_JOB_DIR: `${storage.jobsMount}/${namespace}/${name}`,
    WL_MODELS_DIR: `${storage.modelsMount}/${namespace}`,
    WL_MODELS_URI: `pvc://${effective.modelsClaim}/${namespace}`,
    ...secretVariables(secretsOf(job)),
    ...(bus === undefined ? {} : { WL_BUS: bus }),
    ...(credentials ? { WL_CREDENTIALS: credentials.url, WL_CREDENTIALS_CA: credentials.ca } : {}),
    ...(podsOf(job) > 1 ? gangVariables(job, options) : {}),
  };
  const fixed = Object.entries(values).map(([name, value]) => ({ name, value }));
  return [...fixed, { name: 'WL_POD_IP', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } }];
}

/** What only pods need that are not alone. */
function gangVariables(job: TrainingJob, { secret, credentials }: WorkerOptions): Record<string, string> {
  const { elastic, faults } = job.spec;
  return {
    WL_RENDEZVOUS: `${workerName(job, 0)}.${workersName(job)}:${rendezvousPort}`,
    WL_RENDEZVOUS_PORT: String(rendezvousPort),
    ...(credentials ? {} : { WL_SECRET: secret }),
    ...(faults.hangTimeoutSeconds === undefined ? {} : { WL_HANG_TIMEOUT_SECONDS: String(faults.hangTimeoutSeconds) }),
    ...(elastic ? { WL_ELASTIC_MIN: String(elastic.minRanks), WL_ELASTIC_MAX: String(podsOf(job)) } : {}),
  };
}
