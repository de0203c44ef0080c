// What the operator asks of the API, and why: the only source of its roles in the chart. Nothing here reads secrets of others, gives rights or runs
// commands.
import type { ResourceType } from '#crds/resource.ts';
import {
  ClusterTrainingRuntime,
  InferenceService,
  Model,
  ModelVersion,
  TrainingJob,
  TrainingRuntime,
} from '#crds/v1alpha1/index.ts';
import {
  Event,
  Lease,
  NetworkPolicy,
  Node,
  Pod,
  PodDisruptionBudget,
  Secret,
  Service,
  TokenReview,
} from '#operator/kube/core.ts';
import { PodGroup } from '#operator/kube/pod-group.ts';

export type Verb = 'get' | 'list' | 'watch' | 'create' | 'update' | 'patch' | 'delete';

/** Verbs on one resource, or on its status. */
export interface Access {
  /**
   * `watched`: in the namespaces that the operator works in. `cluster`: for kinds without a namespace. `own`: in the operator's own namespace.
   */
  readonly where: 'watched' | 'cluster' | 'own';
  readonly type: ResourceType;
  readonly subresource?: 'status';
  readonly verbs: readonly Verb[];
  /** Only objects of these names. */
  readonly names?: readonly string[];
  readonly why: string;
}

/** Name of the Lease by which one of several operators leads. */
export const leaseName = 'windlass-operator';

/** Secrets of the operator's own namespace: its authority, and what the bundled bus starts from. */
export const authoritySecret = 'windlass-ca';
export const busSecret = 'windlass-bus';

const store: readonly Verb[] = ['list', 'watch'];

export const access: readonly Access[] = [
  {
    where: 'watched',
    type: TrainingJob,
    verbs: [...store, 'delete'],
    why: 'the jobs to run; they go when their time to live is over',
  },
  { where: 'watched', type: TrainingJob, subresource: 'status', verbs: ['patch'], why: 'state, progress and failures of jobs' },
  { where: 'watched', type: InferenceService, verbs: store, why: 'the services to serve' },
  { where: 'watched', type: InferenceService, subresource: 'status', verbs: ['patch'], why: 'replicas and address of services' },
  { where: 'watched', type: Model, verbs: [...store, 'create'], why: 'a job makes the model that it publishes to' },
  { where: 'watched', type: Model, subresource: 'status', verbs: ['patch'], why: 'the newest version of models' },
  { where: 'watched', type: ModelVersion, verbs: [...store, 'create'], why: 'what a job has published' },
  { where: 'watched', type: ModelVersion, subresource: 'status', verbs: ['patch'], why: 'versions are ready' },
  { where: 'watched', type: TrainingRuntime, verbs: store, why: 'settings of pods, of a namespace' },
  { where: 'cluster', type: ClusterTrainingRuntime, verbs: store, why: 'settings of pods, of the cluster' },
  { where: 'watched', type: Pod, verbs: [...store, 'create', 'delete'], why: 'ranks of jobs and replicas of services' },
  {
    where: 'watched',
    type: PodGroup,
    verbs: [...store, 'create', 'delete'],
    why: 'the scheduler places the ranks of a job as a whole, where it can',
  },
  {
    where: 'watched',
    type: Service,
    verbs: [...store, 'create', 'update'],
    why: 'names of ranks, and what stands in front of replicas',
  },
  {
    where: 'watched',
    type: PodDisruptionBudget,
    verbs: [...store, 'create', 'update'],
    why: 'a drain of nodes waits until replicas of services run elsewhere',
  },
  { where: 'cluster', type: Node, verbs: store, why: 'replicas of services leave nodes that are cordoned' },
  {
    where: 'watched',
    type: NetworkPolicy,
    verbs: [...store, 'create', 'update'],
    why: 'whom the pods of a job or service may speak to',
  },
  { where: 'watched', type: Event, verbs: ['create', 'patch'], why: 'tells people what was done; a patch raises the count' },
  { where: 'own', type: Lease, verbs: ['create'], why: 'the first operator makes the lease; a name cannot be asked for here' },
  { where: 'own', type: Lease, verbs: ['get', 'update'], names: [leaseName], why: 'one of several operators leads' },
  { where: 'own', type: Secret, verbs: ['create'], why: 'the first operator makes them; a name cannot be asked for here' },
  {
    where: 'own',
    type: Secret,
    verbs: ['get', 'update'],
    names: [authoritySecret, busSecret],
    why: 'the authority that certificates of pods come from, and the certificate of the bus',
  },
  { where: 'cluster', type: TokenReview, verbs: ['create'], why: 'which pod asks for credentials' },
];

/** What people need of the kinds of Kubernetes for the commands that talk to a cluster, besides our own kinds. */
export interface PeopleAccess {
  readonly role: 'view' | 'edit';
  readonly group: string;
  readonly resources: readonly string[];
  readonly verbs: readonly Verb[];
  readonly why: string;
}

export const peopleAccess: readonly PeopleAccess[] = [
  {
    role: 'view',
    group: Pod.group,
    resources: ['pods', 'pods/log', 'services'],
    verbs: ['get', 'list', 'watch'],
    why: '`windlass status`, `logs` and `report`',
  },
  {
    role: 'view',
    group: Event.group,
    resources: ['events'],
    verbs: ['get', 'list', 'watch'],
    why: '`windlass status` and `report`',
  },
  {
    role: 'view',
    group: 'apps',
    resources: ['deployments'],
    verbs: ['get', 'list'],
    why: '`windlass report`: how the operator is set up',
  },
  { role: 'edit', group: Service.group, resources: ['services/proxy'], verbs: ['get', 'create'], why: '`windlass chat`' },
];
