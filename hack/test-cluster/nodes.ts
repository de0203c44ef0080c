// Real nodes: containerd, kubelet and kube-proxy, each node in a room of its own.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createCgroup } from './cgroups.ts';
import { capture } from './command.ts';
import { binaryOf } from './components.ts';
import type { ControlPlane } from './control-plane.ts';
import { writeKubeconfig } from './kubeconfig.ts';
import { nameServer } from './name-server.ts';
import { joinPods } from './network.ts';
import type { Network } from './network.ts';
import { containerdConfig, kubeletConfig, kubeProxyConfig, networkPluginConfig, socketOf } from './node-config.ts';
import type { NodePlace } from './node-config.ts';
import type { Processes } from './processes.ts';
import { Sandbox } from './sandbox.ts';
import { get, until } from './wait.ts';

/** No name of a cluster holds a dot: one is never taken for the beginning of another. */
export const cgroupPrefix = (cluster: string): string => `windlass.${cluster}.`;

/** Starts `count` nodes with `images` on each, and resolves when they are ready and names are answered for. */
export async function startNodes(
  plane: ControlPlane,
  network: Network,
  count: number,
  images: readonly string[],
  processes: Processes,
): Promise<void> {
  const { access } = plane;
  const places = Array.from({ length: count }, (_, offset): NodePlace => {
    const name = `node-${offset + 1}`;
    const folder = join(access.folder, 'nodes', name);
    return { name, index: offset + 1, folder, cgroup: `/${cgroupPrefix(access.name)}${name}`, addresses: network.addresses };
  });
  const sandboxes = await Promise.all(places.map((place) => startNode(place, plane, network, images, processes)));
  await joinPods(network.addresses, sandboxes);
  const manifests = { apiVersion: 'v1', kind: 'List', items: nameServer(network.addresses) };
  const kubectl = ['--kubeconfig', access.kubeconfig, 'apply', '-f', '-'];
  await capture(binaryOf('kubectl'), kubectl, { input: JSON.stringify(manifests) });
  const ready = Promise.all([...places.map(({ name }) => nodeReady(plane, name)), nameServerReady(plane)]);
  await Promise.race([processes.failed, ready]);
  processes.letEnd(/^node-/);
}

async function startNode(
  place: NodePlace,
  { access, authority }: ControlPlane,
  network: Network,
  images: readonly string[],
  processes: Processes,
): Promise<Sandbox> {
  const { name, index, folder, addresses } = place;
  for (const part of ['cni', 'kubelet', 'volume-plugins', 'pod-logs']) mkdirSync(join(folder, part), { recursive: true });
  createCgroup(place.cgroup);
  const sandbox = await Sandbox.create(name, folder, processes);
  writeFileSync(join(folder, 'sandbox.pid'), String(sandbox.pid));
  await network.connect(index, sandbox);
  const start = (program: string, ...command: string[]): void => {
    const [first = '', ...rest] = [...sandbox.enter(), ...command];
    processes.start(`${name}-${program}`, first, rest);
  };
  const write = (file: string, content: string): string => {
    const path = join(folder, file);
    writeFileSync(path, content, { mode: 0o600 });
    return path;
  };

  write('cni/10-pods.conflist', networkPluginConfig(place));
  start('containerd', 'containerd', '--config', write('containerd.toml', containerdConfig(place)));
  const [serving, client, proxyClient] = await Promise.all([
    authority.server(`${name}-kubelet`, `system:node:${name}`, [name, `IP:${addresses.node(index)}`]),
    authority.client(`${name}-client`, `system:node:${name}`, 'system:nodes'),
    authority.client(`${name}-kube-proxy`, 'system:kube-proxy'),
    Promise.race([processes.failed, until(`containerd of ${name}`, async () => existsSync(socketOf(place)))]),
  ]);
  for (const image of images) await importImage(place, image);

  const config = { cluster: access.name, url: access.url, ca: authority.ca.cert };
  writeKubeconfig(join(folder, 'kubelet.kubeconfig'), { ...config, client });
  writeKubeconfig(join(folder, 'kube-proxy.kubeconfig'), { ...config, client: proxyClient });
  start(
    'kubelet',
    binaryOf('kubelet'),
    `--config=${write('kubelet.yaml', kubeletConfig(place, authority.ca.cert, serving))}`,
    `--kubeconfig=${join(folder, 'kubelet.kubeconfig')}`,
    `--hostname-override=${name}`,
    `--node-ip=${addresses.node(index)}`,
    `--root-dir=${join(folder, 'kubelet')}`,
    `--cert-dir=${join(folder, 'kubelet')}`,
  );
  const proxyConfig = write('kube-proxy.yaml', kubeProxyConfig(place, join(folder, 'kube-proxy.kubeconfig')));
  start('kube-proxy', binaryOf('kube-proxy'), `--config=${proxyConfig}`);
  return sandbox;
}

/** Takes a node away as a power cut would: every process of it ends at once. The cluster lives on without it. */
export function cutPower({ folder }: Pick<NodePlace, 'folder'>): void {
  process.kill(Number(readFileSync(join(folder, 'sandbox.pid'), 'utf8')), 'SIGKILL');
}

/** Gives a node an image from an OCI layout in a tar archive; nothing is pulled. */
export async function importImage(place: Pick<NodePlace, 'folder'>, archive: string): Promise<void> {
  const socket = join(place.folder, 'containerd.sock');
  await until(`import of ${archive}`, async () => {
    await capture('ctr', ['--address', socket, '--namespace', 'k8s.io', 'images', 'import', archive]);
    return true;
  });
}

interface Conditioned {
  readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
}

async function holds({ access }: ControlPlane, path: string, type: string): Promise<boolean> {
  const { body } = await get(access, path);
  const { status } = JSON.parse(body) as Conditioned;
  return status?.conditions?.some((condition) => condition.type === type && condition.status === 'True') ?? false;
}

const nodeReady = (plane: ControlPlane, name: string): Promise<void> =>
  until(`ready node ${name}`, async () => await holds(plane, `/api/v1/nodes/${name}`, 'Ready'));

const nameServerReady = (plane: ControlPlane): Promise<void> =>
  until('name server', async () => await holds(plane, '/apis/apps/v1/namespaces/kube-system/deployments/coredns', 'Available'));
