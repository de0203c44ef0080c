// Two network namespaces joined by a cable, on which packets can be lost, held up or swallowed.
import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

/** Addresses of the two ends (RFC 2544 keeps them from all real networks). */
export const pairAddresses = ['198.18.77.1', '198.18.77.2'] as const;

export interface NetworkPair extends Disposable {
  /** Program that runs Node in the namespace of an end. */
  readonly node: (end: number) => string;
  /** Bytes that the first end has sent. */
  readonly bytesSent: () => number;
  /** Loses this share of the packets that come in at each end. */
  lose(percent: number): void;
  /** Lays another cable, through which each packet takes this long; false where tunnel devices can't be had. Before anything else. */
  delay(milliseconds: number): Promise<boolean>;
  /** Swallows all packets to or from any port of the other end, without a word. */
  swallow(): void;
}

const checkout = resolve(import.meta.dirname, '../..');
const nativeFolder = 'build/native';

let pairs = 0;

/** Needs root and the tools `ip` (iproute2) and `nft` (nftables). Throws what a tool says when it fails. */
export function openNetworkPair(): NetworkPair {
  const name = `wl${process.pid}x${(pairs += 1)}`;
  const ends = [`${name}a`, `${name}b`] as const;
  const folder = mkdtempSync(join(tmpdir(), 'wl-netns-'));
  let lateLine: ChildProcess | undefined;
  const close = () => {
    lateLine?.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
    for (const end of namespaces()) if (ends.includes(end as (typeof ends)[number])) run('ip', 'netns', 'delete', end);
  };
  const switchOn = () => {
    for (const [index, end] of ends.entries()) {
      run('ip', '-n', end, 'address', 'add', `${pairAddresses[index]!}/30`, 'dev', 'cable');
      for (const device of ['lo', 'cable']) run('ip', '-n', end, 'link', 'set', device, 'up');
    }
  };
  try {
    for (const end of ends) run('ip', 'netns', 'add', end);
    run('ip', 'link', 'add', 'cable', 'netns', ends[0], 'type', 'veth', 'peer', 'name', 'cable', 'netns', ends[1]);
    switchOn();
    for (const [index, end] of ends.entries()) {
      const node = join(folder, `node-${index}`);
      writeFileSync(node, `#!/bin/sh\nexec ip netns exec ${end} '${process.execPath}' "$@"\n`);
      chmodSync(node, 0o755);
    }
  } catch (error) {
    close();
    throw error;
  }
  /** What each end does with packets that come in over the cable. */
  const filter = (verdict: string) => {
    const rules = ['type filter hook input priority 0', `iifname "cable" ${verdict}`];
    const table = ['table ip wl {', 'chain arriving {', ...rules, '}', '}'].join('\n');
    for (const end of ends) run('ip', 'netns', 'exec', end, 'nft', table);
  };
  return {
    node: (end) => join(folder, `node-${end}`),
    bytesSent() {
      const said = run('ip', '-n', ends[0], '-s', '-j', 'link', 'show', 'dev', 'cable');
      const [link] = JSON.parse(said) as [{ stats64: { tx: { bytes: number } } }];
      return link.stats64.tx.bytes;
    },
    lose: (percent) => filter(`numgen random mod 100 < ${percent} drop`),
    swallow: () => filter('drop'),
    async delay(milliseconds) {
      if (!existsSync('/dev/net/tun')) return false;
      const program = buildProgram('late-line');
      run('ip', '-n', ends[0], 'link', 'delete', 'cable');
      lateLine = spawn(program, ['cable', String(milliseconds), ...ends], { stdio: ['pipe', 'pipe', 'inherit'] });
      await Promise.race([once(lateLine.stdout!, 'data'), once(lateLine, 'exit')]);
      if (lateLine.exitCode !== null) throw new Error(`late-line ended with ${lateLine.exitCode}`);
      switchOn();
      return true;
    },
    [Symbol.dispose]: close,
  };
}

/** Builds a program of kernels/tests/programs, unless it is up to date; its path. */
function buildProgram(name: string): string {
  // One build at a time in this folder, as hack/setup has it.
  run('flock', join(checkout, 'build/.setup.lock'), 'ninja', '-C', join(checkout, nativeFolder), '--quiet', name);
  return join(checkout, nativeFolder, name);
}

function namespaces(): string[] {
  return run('ip', 'netns', 'list')
    .split('\n')
    .map((line) => line.split(' ')[0]!);
}

function run(program: string, ...args: string[]): string {
  return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}
