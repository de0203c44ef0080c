// The kinds of Kubernetes that we use, as far as we use them.
import type { KubeObject, ResourceType } from '#crds/resource.ts';
import type { PodTemplate } from '#crds/v1alpha1/index.ts';

export interface EnvVar {
  name: string;
  value?: string;
  /** `status.podIP`, `metadata.name` or `metadata.namespace` of the pod. */
  valueFrom?: { fieldRef: { fieldPath: string } };
}

export interface Probe {
  httpGet: { path: string; port: number | string };
  periodSeconds?: number;
  timeoutSeconds?: number;
  failureThreshold?: number;
  initialDelaySeconds?: number;
}

export interface Container {
  name: string;
  image: string;
  command: string[];
  args?: string[];
  env?: EnvVar[];
  ports?: { name?: string; containerPort: number }[];
  resources?: NonNullable<PodTemplate['resources']>;
  volumeMounts?: { name: string; mountPath: string; readOnly?: boolean; subPath?: string }[];
  readinessProbe?: Probe;
  livenessProbe?: Probe;
  startupProbe?: Probe;
  securityContext?: {
    allowPrivilegeEscalation?: boolean;
    readOnlyRootFilesystem?: boolean;
    capabilities?: { drop?: string[] };
  };
  terminationMessagePath?: string;
  terminationMessagePolicy?: 'File' | 'FallbackToLogsOnError';
}

export interface Volume {
  name: string;
  persistentVolumeClaim?: { claimName: string; readOnly?: boolean };
  emptyDir?: { sizeLimit?: string };
  secret?: { secretName: string; optional?: boolean; defaultMode?: number; items?: { key: string; path: string }[] };
  projected?: { sources: { serviceAccountToken: { audience: string; expirationSeconds: number; path: string } }[] };
}

export interface Affinity {
  nodeAffinity: {
    requiredDuringSchedulingIgnoredDuringExecution: {
      nodeSelectorTerms: { matchExpressions: { key: string; operator: 'In' | 'NotIn'; values: string[] }[] }[];
    };
  };
}

interface PodSpec {
  nodeName?: string;
  affinity?: Affinity;
  /** With `subdomain`, the name of a headless Service: the pod answers to `<hostname>.<subdomain>`. */
  hostname?: string;
  subdomain?: string;
  restartPolicy: 'Always' | 'OnFailure' | 'Never';
  containers: Container[];
  volumes?: Volume[];
  securityContext?: {
    runAsNonRoot?: boolean;
    runAsUser?: number;
    runAsGroup?: number;
    fsGroup?: number;
    seccompProfile?: { type: 'RuntimeDefault' };
  };
  serviceAccountName?: string;
  automountServiceAccountToken?: boolean;
  enableServiceLinks?: boolean;
  terminationGracePeriodSeconds?: number;
  nodeSelector?: Record<string, string>;
  tolerations?: PodTemplate['tolerations'];
  priorityClassName?: string;
  /** Gang that the pod is placed with. */
  schedulingGroup?: { podGroupName: string };
}

export interface TerminatedState {
  exitCode: number;
  signal?: number;
  reason?: string;
  message?: string;
  startedAt?: string;
  finishedAt?: string;
}

export interface ContainerState {
  waiting?: { reason?: string; message?: string };
  running?: { startedAt?: string };
  terminated?: TerminatedState;
}

export interface ContainerStatus {
  name: string;
  ready: boolean;
  restartCount: number;
  started?: boolean;
  state?: ContainerState;
  lastState?: ContainerState;
}

type PodPhase = 'Pending' | 'Running' | 'Succeeded' | 'Failed' | 'Unknown';

export interface PodStatus {
  phase?: PodPhase;
  conditions?: {
    type: string;
    status: 'True' | 'False' | 'Unknown';
    reason?: string;
    message?: string;
    lastTransitionTime?: string;
  }[];
  podIP?: string;
  hostIP?: string;
  startTime?: string;
  reason?: string;
  message?: string;
  containerStatuses?: ContainerStatus[];
}

export interface Pod extends KubeObject {
  spec: PodSpec;
  status?: PodStatus;
}

export interface Service extends KubeObject {
  spec: {
    selector: Record<string, string>;
    ports: { name?: string; port: number; targetPort: number | string }[];
    type?: 'ClusterIP';
    /** Given by the API server, or by the local service proxy. `None`: headless, its name stands for the addresses of its pods. */
    clusterIP?: string;
    /** Pods have their names from the start, not only while they are ready. */
    publishNotReadyAddresses?: boolean;
  };
  status?: Record<string, never>;
}

/** A machine, as far as services care: whether pods are to leave it. */
export interface Node extends KubeObject {
  spec: { unschedulable?: boolean };
}

/** How many pods evictions must leave. */
export interface PodDisruptionBudget extends KubeObject {
  spec: {
    minAvailable: number;
    selector: { matchLabels: Record<string, string> };
    /** Pods that do not answer may always go. */
    unhealthyPodEvictionPolicy?: 'AlwaysAllow' | 'IfHealthyBudget';
  };
}

/** An event of events.k8s.io/v1. */
export interface Event extends KubeObject {
  eventTime: string;
  reportingController: string;
  reportingInstance: string;
  action: string;
  reason: string;
  note: string;
  type: 'Normal' | 'Warning';
  regarding: { apiVersion: string; kind: string; namespace?: string; name: string; uid: string };
  series?: { count: number; lastObservedTime: string };
}

export interface Lease extends KubeObject {
  spec: {
    /** Empty or absent: nobody's. */
    holderIdentity?: string;
    leaseDurationSeconds?: number;
    acquireTime?: string;
    renewTime?: string;
    leaseTransitions?: number;
  };
}

export interface Secret extends KubeObject {
  type: 'Opaque';
  /** Values in base64. */
  data?: Record<string, string>;
}

/** Asks the API server whom a token is of. Nothing is kept of it. */
export interface TokenReview extends KubeObject {
  spec: { token: string; audiences: string[] };
  status?: {
    authenticated?: boolean;
    /** Those of the audiences asked for that the token is for. */
    audiences?: string[];
    error?: string;
    user?: { username?: string; extra?: Record<string, string[]> };
  };
}

export interface NetworkPort {
  protocol: 'TCP' | 'UDP';
  /** Number, or name of a container's port. */
  port: number | string;
}

/** One of these, or both selectors. */
export interface NetworkPeer {
  podSelector?: { matchLabels: Record<string, string> };
  namespaceSelector?: { matchLabels: Record<string, string> };
  ipBlock?: { cidr: string; except?: string[] };
}

export interface NetworkPolicy extends KubeObject {
  spec: {
    podSelector: { matchLabels: Record<string, string> };
    policyTypes: ('Ingress' | 'Egress')[];
    /** Without peers: from anywhere; without ports: to all of them. */
    ingress: { from?: NetworkPeer[]; ports?: NetworkPort[] }[];
    egress: { to?: NetworkPeer[]; ports?: NetworkPort[] }[];
  };
}

export const NetworkPolicy: ResourceType<NetworkPolicy> = {
  group: 'networking.k8s.io',
  version: 'v1',
  kind: 'NetworkPolicy',
  plural: 'networkpolicies',
  namespaced: true,
};
export const Secret: ResourceType<Secret> = { group: '', version: 'v1', kind: 'Secret', plural: 'secrets', namespaced: true };
export const TokenReview: ResourceType<TokenReview> = {
  group: 'authentication.k8s.io',
  version: 'v1',
  kind: 'TokenReview',
  plural: 'tokenreviews',
  namespaced: false,
};
export const Lease: ResourceType<Lease> = {
  group: 'coordination.k8s.io',
  version: 'v1',
  kind: 'Lease',
  plural: 'leases',
  namespaced: true,
};
export const Pod: ResourceType<Pod> = { group: '', version: 'v1', kind: 'Pod', plural: 'pods', namespaced: true };
export const Service: ResourceType<Service> = { group: '', version: 'v1', kind: 'Service', plural: 'services', namespaced: true };
export const Node: ResourceType<Node> = { group: '', version: 'v1', kind: 'Node', plural: 'nodes', namespaced: false };
export const PodDisruptionBudget: ResourceType<PodDisruptionBudget> = {
  group: 'policy',
  version: 'v1',
  kind: 'PodDisruptionBudget',
  plural: 'poddisruptionbudgets',
  namespaced: true,
};
export const Event: ResourceType<Event> = {
  group: 'events.k8s.io',
  version: 'v1',
  kind: 'Event',
  plural: 'events',
  namespaced: true,
};

/** Whether the kubelet says that the pod answers. */
export function isPodReady(pod: Pod): boolean {
  return pod.status?.conditions?.some((condition) => condition.type === 'Ready' && condition.status === 'True') ?? false;
}

/** Whether the pod's containers have ended for good. */
export function isPodFinished(pod: Pod): boolean {
  return pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed';
}
