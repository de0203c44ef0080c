// The NetworkPolicy of a job or a service: its pods hear and reach what they need for their work, and nobody else. Pure.
import { label, managedBy } from '#crds/names.ts';
import type { KubeObject } from '#crds/resource.ts';
import type { InferenceService, ModelVersion, TrainingJob } from '#crds/v1alpha1/index.ts';
import type { NetworkPeer, NetworkPolicy, NetworkPort } from '#operator/kube/core.ts';
import { podSelector } from '../inference-service/pods.ts';
import { controllerReference } from '../pod-shell.ts';

/** What pods reach of the installation. */
export interface NetworkSettings {
  /** Where the operator's own Services are; absent: anywhere. */
  readonly namespace?: string | undefined;
  /** Ports there: the bundled bus, and the credentials service. */
  readonly ownPorts: readonly number[];
  /** Ports of a bus somewhere else. */
  readonly otherPorts: readonly number[];
}

/** Pods of a job hear each other alone; they reach each other, names, the bus, the operator, and the web if their data is there. */
export function jobPolicy(job: TrainingJob, settings: NetworkSettings): NetworkPolicy {
  const own: NetworkPeer[] = [{ podSelector: { matchLabels: { [label.jobUid]: job.metadata.uid ?? '' } } }];
  const { namespace, ownPorts, otherPorts } = settings;
  const operator: NetworkPeer[] =
    namespace === undefined ? [] : [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': namespace } } }];
  return policyOf(job, `${job.metadata.name}-job`, { [label.job]: job.metadata.name }, own[0]!.podSelector!, {
    ingress: [{ from: own }],
    egress: [
      { to: own },
      names,
      ...(ownPorts.length > 0 ? [{ ...(operator.length > 0 ? { to: operator } : {}), ports: ownPorts.map(tcp) }] : []),
      ...(otherPorts.length > 0 ? [{ ports: otherPorts.map(tcp) }] : []),
      ...web(job.spec, proxiesOf(job)),
    ],
  });
}

/** Replicas of a service are asked by anybody at their one port; they reach names, and the web if their model is there: one of `versions` or its own. */
export function servicePolicy(service: InferenceService, versions: readonly ModelVersion[]): NetworkPolicy {
  const selector = podSelector(service);
  return policyOf(
    service,
    `${service.metadata.name}-serving`,
    selector,
    { matchLabels: selector },
    {
      ingress: [{ ports: [{ protocol: 'TCP', port: 'http' }] }],
      egress: [names, ...web([service.spec, versions.map(({ spec }) => spec.uri)], proxiesOf(service))],
    },
  );
}

function policyOf(
  owner: KubeObject,
  name: string,
  labels: Record<string, string>,
  selector: NetworkPolicy['spec']['podSelector'],
  rules: Pick<NetworkPolicy['spec'], 'ingress' | 'egress'>,
): NetworkPolicy {
  const { namespace } = owner.metadata;
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: {
      name,
      ...(namespace === undefined ? {} : { namespace }),
      labels: { [label.managedBy]: managedBy, ...labels },
      ownerReferences: [controllerReference(owner)],
    },
    spec: { podSelector: selector, policyTypes: ['Ingress', 'Egress'], ...rules },
  };
}

const tcp = (port: number): NetworkPort => ({ protocol: 'TCP', port });

/** Anywhere: name servers run on nodes as well as in pods. */
const names = { ports: [{ protocol: 'UDP' as const, port: 53 }, tcp(53)] };

/** All addresses but those that give a machine of a cloud its credentials. */
const world: NetworkPeer[] = [
  { ipBlock: { cidr: '0.0.0.0/0', except: ['169.254.0.0/16'] } },
  { ipBlock: { cidr: '::/0', except: ['fd00:ec2::254/128', 'fe80::/10'] } },
];

/** The way to what a spec names by http(s), directly or through these proxies. */
function web(spec: unknown, proxies: readonly string[]): { to: NetworkPeer[]; ports: NetworkPort[] }[] {
  const ports = webPorts(spec);
  if (ports.length === 0) return [];
  const all = new Set([...ports, ...proxies.flatMap(portOf)]);
  return [{ to: world, ports: [...all].toSorted((a, b) => a - b).map(tcp) }];
}

/** Ports of all http(s) addresses that a spec names, in order. They may send on to the usual ones. */
export function webPorts(spec: unknown): number[] {
  const found = new Set<number>();
  const walk = (value: unknown): void => {
    if (typeof value === 'object' && value !== null) return Object.values(value).forEach(walk);
    if (typeof value !== 'string' || !/^https?:\/\//.test(value)) return;
    for (const port of portOf(value)) found.add(port).add(443);
  };
  walk(spec);
  return [...found].toSorted((a, b) => a - b);
}

function portOf(address: string): number[] {
  if (!URL.canParse(address)) return [];
  const { protocol, port } = new URL(address);
  return [port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port)];
}

/** Proxies that the runtime's variables name. */
function proxiesOf({ status }: TrainingJob | InferenceService): string[] {
  return (status?.effective?.env ?? []).filter(({ name }) => /^https?_proxy$/i.test(name)).map(({ value }) => value);
}
