// The network of a cluster with nodes: a switch in a namespace of its own, a cable to each node and one to this machine.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { capture } from './command.ts';
import type { Processes } from './processes.ts';
import { Sandbox } from './sandbox.ts';

export interface Addresses {
  /** This machine, as the nodes see it: where the API server listens. */
  readonly host: string;
  readonly node: (index: number) => string;
  readonly podRange: (index: number) => string;
  readonly allPods: string;
  readonly services: string;
  /** The nth address of the services: 1 is the API server, 10 the name server. */
  readonly service: (index: number) => string;
}

export interface Network {
  readonly addresses: Addresses;
  /** Plugs a node in. From 1. */
  readonly connect: (index: number, sandbox: Sandbox) => Promise<void>;
}

/** As many clusters with nodes as can run at the same time. */
const maxNetworks = 12;

const addressesOf = (network: number): Addresses => ({
  host: `10.95.${network}.1`,
  node: (index) => `10.95.${network}.${index + 1}`,
  podRange: (index) => `10.${112 + network}.${index}.0/24`,
  allPods: `10.${112 + network}.0.0/16`,
  services: `10.${96 + network}.0.0/16`,
  service: (index) => `10.${96 + network}.0.${index}`,
});

/** Nothing of this machine's own rules is touched: one interface and some routes come, and go with the switch. */
export async function createNetwork(folder: string, processes: Processes): Promise<Network> {
  const place = join(folder, 'switch');
  mkdirSync(place, { recursive: true });
  const hub = await Sandbox.create('switch', place, processes);
  await hub.run('ip', 'link', 'add', 'br0', 'type', 'bridge');
  await hub.run('ip', 'link', 'set', 'br0', 'up');
  const { network, link } = await plugInHost(hub);
  const addresses = addressesOf(network);
  await hub.run('ip', 'link', 'set', 'host', 'master', 'br0', 'up');
  await capture('ip', ['address', 'add', `${addresses.host}/24`, 'dev', link]);
  await capture('ip', ['link', 'set', link, 'up']);
  await capture('ip', ['route', 'add', addresses.services, 'via', addresses.node(1)]);
  return { addresses, connect: (index, sandbox) => connect(hub, addresses, index, sandbox) };
}

/** The name of the interface is the claim: the kernel gives it to one cluster only. */
async function plugInHost(hub: Sandbox): Promise<{ network: number; link: string }> {
  for (let network = 0; ; network++) {
    const link = `windlass${network}`;
    try {
      await capture('ip', ['link', 'add', link, 'type', 'veth', 'peer', 'name', 'host', 'netns', String(hub.pid)]);
      return { network, link };
    } catch (error) {
      if (!String(error).includes('File exists') || network + 1 === maxNetworks) throw error;
    }
  }
}

async function connect(hub: Sandbox, addresses: Addresses, index: number, sandbox: Sandbox): Promise<void> {
  const port = `node${index}`;
  await hub.run('ip', 'link', 'add', port, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', String(sandbox.pid));
  await hub.run('ip', 'link', 'set', port, 'master', 'br0', 'up');
  await sandbox.run('ip', 'address', 'add', `${addresses.node(index)}/24`, 'dev', 'eth0');
  await sandbox.run('ip', 'link', 'set', 'eth0', 'up');
  const settings = ['net.ipv4.ip_forward=1', 'net.ipv4.conf.all.route_localnet=1', 'net.bridge.bridge-nf-call-iptables=1'];
  await sandbox.run('sysctl', '--quiet', '--write', ...settings);
  // A process of the node reaches a service only over a route that covers it; kube-proxy sends it elsewhere.
  await sandbox.run('ip', 'route', 'add', addresses.services, 'via', addresses.host);
  await capture('ip', ['route', 'add', addresses.podRange(index), 'via', addresses.node(index)]);
}

/** Lets the pods of each node find those of the others. */
export async function joinPods(addresses: Addresses, sandboxes: readonly Sandbox[]): Promise<void> {
  for (const [from, sandbox] of sandboxes.entries()) {
    for (const to of sandboxes.keys()) {
      if (from !== to) await sandbox.run('ip', 'route', 'add', addresses.podRange(to + 1), 'via', addresses.node(to + 1));
    }
  }
}
