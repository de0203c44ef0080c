// What nodes take from the machine: container runtime, network plugins and tools, as packages of Debian.
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { capture } from './command.ts';

/** A file that each package brings. */
const packages = {
  containerd: 'containerd',
  runc: 'runc',
  'containernetworking-plugins': '/usr/lib/cni/bridge',
  nftables: 'nft',
  iproute2: 'ip',
  procps: 'sysctl',
};

/** Installs those that are missing, where root and apt-get allow it. */
export async function needNodePackages(say: (line: string) => void): Promise<void> {
  if (process.getuid?.() !== 0)
    throw new Error('nodes need namespaces and mounts: run it as root, or start only an API server (up api)');
  if (missingPackages().length === 0) return;
  const wanted = missingPackages();
  say(`installing ${wanted.join(', ')}`);
  try {
    await capture('apt-get', ['update', '-qq']);
    await capture('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...wanted], {
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    });
  } catch (cause) {
    throw new Error(`${wanted.join(', ')} could not be installed; install these packages and run again`, { cause });
  }
  if (missingPackages().length > 0)
    throw new Error(`${missingPackages().join(', ')} did not bring what nodes need; install them by hand`);
}

function missingPackages(): string[] {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin'];
  const present = (file: string): boolean =>
    file.startsWith('/') ? existsSync(file) : folders.some((folder) => existsSync(join(folder, file)));
  return Object.entries(packages)
    .filter(([, file]) => !present(file))
    .map(([name]) => name);
}
