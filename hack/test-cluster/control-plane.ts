// The control plane of a cluster: etcd, the API server, and on request the controller manager and the scheduler.
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { Authority, serviceAccountKeys } from './certificates.ts';
import { binaryOf } from './components.ts';
import type { ComponentName } from './components.ts';
import { flags } from './flags.ts';
import { writeKubeconfig } from './kubeconfig.ts';
import type { Processes } from './processes.ts';
import type { Addresses } from './network.ts';
import type { ClusterAccess } from './state.ts';
import { get, until } from './wait.ts';

export const controllers = ['controller-manager', 'scheduler'] as const;
export type Controller = (typeof controllers)[number];

export interface ControlPlaneOptions {
  readonly with?: readonly Controller[];
  /** Serves PodGroup (scheduling.k8s.io/v1beta1), a beta of 1.37 that is off by default. True if left out. */
  readonly gangScheduling?: boolean;
  /** Heeds the topology that a PodGroup asks for, an alpha of 1.37. */
  readonly topologyScheduling?: boolean;
  /** Added to the controller manager's flags, where the last one of a name wins: controllers to leave out. */
  readonly controllerManagerArgs?: readonly string[];
  /** Added to the API server's flags, where the last one of a name wins: an audit log, other limits. */
  readonly apiServerArgs?: readonly string[];
}

/** The programs that it takes. */
export const controlPlaneParts = (options: ControlPlaneOptions): ComponentName[] => [
  ...(['etcd', 'kube-apiserver'] as const),
  ...(options.with ?? []).map((controller) => `kube-${controller}` as const),
];

export interface ControlPlane {
  readonly access: ClusterAccess;
  /** Signs the certificates of nodes. */
  readonly authority: Authority;
}

/** Starts it in `folder`, and resolves when it answers: on the loopback, or where the nodes of a network find it. */
export async function startControlPlane(
  folder: string,
  options: ControlPlaneOptions,
  processes: Processes,
  network?: Addresses,
): Promise<ControlPlane> {
  const pki = join(folder, 'pki');
  const authority = await Authority.create(pki, 'ca');
  const [etcdPort = 0, peerPort = 0, freePort = 0] = await freePorts(3);
  const [address, port] = network ? [network.host, 6443] : ['127.0.0.1', freePort];
  const services = network?.services ?? '10.96.0.0/16';
  const names = [...serverNames, `IP:${address}`, `IP:${network?.service(1) ?? '10.96.0.1'}`];
  const [server, admin] = await Promise.all([
    authority.server('apiserver', 'kube-apiserver', names),
    authority.client('admin', 'admin', 'system:masters'),
  ]);
  const serviceAccounts = serviceAccountKeys(pki);
  const token = randomBytes(24).toString('hex');
  const tokens = join(pki, 'tokens.csv');
  writeFileSync(tokens, `${token},admin,admin,system:masters\n`, { mode: 0o600 });

  const [etcdUrl, peerUrl] = [`http://127.0.0.1:${etcdPort}`, `http://127.0.0.1:${peerPort}`];
  const url = `https://${address}:${port}`;
  processes.start(
    'etcd',
    binaryOf('etcd'),
    flags({
      name: 'etcd',
      'data-dir': join(folder, 'etcd'),
      'unsafe-no-fsync': true,
      'log-level': 'warn',
      'listen-client-urls': etcdUrl,
      'advertise-client-urls': etcdUrl,
      'listen-peer-urls': peerUrl,
      'initial-advertise-peer-urls': peerUrl,
      'initial-cluster': `etcd=${peerUrl}`,
    }),
  );

  const wanted = options.with ?? [];
  const gangs = options.gangScheduling !== false;
  const gates = ['GenericWorkload', ...(options.topologyScheduling ? ['TopologyAwareWorkloadScheduling'] : [])];
  const gate = gangs ? { 'feature-gates': gates.map((name) => `${name}=true`).join(',') } : {};
  const apiServerFlags = flags({
    'etcd-servers': etcdUrl,
    'bind-address': address,
    'secure-port': port,
    'advertise-address': address,
    ...(network ? await kubeletAccess(authority) : loopbackOnly),
    'tls-cert-file': server.cert,
    'tls-private-key-file': server.key,
    'cert-dir': pki,
    'client-ca-file': authority.ca.cert,
    'token-auth-file': tokens,
    'service-account-issuer': 'https://kubernetes.default.svc',
    'service-account-key-file': serviceAccounts.publicKey,
    'service-account-signing-key-file': serviceAccounts.privateKey,
    'service-cluster-ip-range': services,
    'authorization-mode': ['Node', 'RBAC'],
    'enable-admission-plugins': 'NodeRestriction',
    'allow-privileged': true,
    // Nobody makes service accounts without the controller manager, and pods would wait for them.
    ...(wanted.includes('controller-manager') ? {} : { 'disable-admission-plugins': 'ServiceAccount' }),
    // Both are needed: the gate alone leaves the API unserved without a word.
    ...(gangs ? { ...gate, 'runtime-config': 'scheduling.k8s.io/v1beta1=true' } : {}),
  });
  processes.start('kube-apiserver', binaryOf('kube-apiserver'), [...apiServerFlags, ...(options.apiServerArgs ?? [])]);

  const kubeconfig = join(folder, 'kubeconfig');
  const cluster = `windlass-${folder.split('/').at(-1)}`;
  writeKubeconfig(kubeconfig, { cluster, url, ca: authority.ca.cert, client: admin });
  const read = (file: string): string => readFileSync(file, 'utf8');
  const access: ClusterAccess = {
    name: folder.split('/').at(-1) ?? '',
    size: network ? 'node' : 'api',
    folder,
    url,
    kubeconfig,
    ca: read(authority.ca.cert),
    cert: read(admin.cert),
    key: read(admin.key),
    token,
  };
  await Promise.race([processes.failed, until('API server that is ready', async () => isReady(access))]);

  for (const controller of wanted) {
    const client = await authority.client(controller, `system:kube-${controller}`);
    const config = join(folder, `${controller}.kubeconfig`);
    writeKubeconfig(config, { cluster, url, ca: authority.ca.cert, client });
    const controllerFlags = flags({
      kubeconfig: config,
      'authentication-kubeconfig': config,
      'authorization-kubeconfig': config,
      'leader-elect': false,
      // With the default rate the first service account takes seconds.
      'kube-api-qps': 300,
      'kube-api-burst': 600,
      'secure-port': 0,
      // On while the API is off, the scheduler would schedule nothing without a word.
      ...gate,
      ...(controller === 'controller-manager' ? controllerManagerFlags(authority, serviceAccounts.privateKey, services) : {}),
    });
    const more = controller === 'controller-manager' ? (options.controllerManagerArgs ?? []) : [];
    processes.start(`kube-${controller}`, binaryOf(`kube-${controller}`), [...controllerFlags, ...more]);
  }
  if (wanted.includes('controller-manager')) {
    const account = '/api/v1/namespaces/default/serviceaccounts/default';
    const made = until('default service account', async () => (await get(access, account)).status === 200);
    await Promise.race([processes.failed, made]);
  }
  return { access, authority };
}

const serverNames = [
  'kubernetes',
  'kubernetes.default',
  'kubernetes.default.svc',
  'kubernetes.default.svc.cluster.local',
  'localhost',
  'IP:127.0.0.1',
];

/** A loopback address is refused as an endpoint of the Service `kubernetes`. */
const loopbackOnly = { 'endpoint-reconciler-type': 'none' };

/** How the API server reaches kubelets, for logs and exec, and services, for webhooks. */
async function kubeletAccess(authority: Authority): Promise<Record<string, string>> {
  const client = await authority.client('apiserver-kubelet-client', 'kube-apiserver-kubelet-client', 'system:masters');
  return {
    'kubelet-client-certificate': client.cert,
    'kubelet-client-key': client.key,
    'kubelet-certificate-authority': authority.ca.cert,
    // The names of nodes are known to nobody here.
    'kubelet-preferred-address-types': 'InternalIP',
    'enable-aggregator-routing': 'true',
  };
}

const controllerManagerFlags = (authority: Authority, serviceAccountKey: string, services: string): Record<string, string> => ({
  'root-ca-file': authority.ca.cert,
  'service-account-private-key-file': serviceAccountKey,
  'cluster-signing-cert-file': authority.ca.cert,
  'cluster-signing-key-file': authority.ca.key,
  'use-service-account-credentials': 'true',
  'service-cluster-ip-range': services,
});

async function isReady(access: ClusterAccess): Promise<boolean> {
  for (const path of ['/readyz', '/api/v1/namespaces/default']) if ((await get(access, path)).status !== 200) return false;
  return true;
}

/** Ports of the loopback that nobody listened on a moment ago. */
async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer();
      await new Promise<void>((done, reject) => server.once('error', reject).listen(0, '127.0.0.1', done));
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
  return ports;
}
