// `parallelism.encryption` as it reaches the network: ranks that agree about it meet, others are told so at once, and certificates let nobody in.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer } from 'node:tls';
import { expect, it } from 'vitest';
import { Authority } from '../../hack/test-cluster/certificates.ts';
import * as kernels from '#kernels/binding.ts';
import type { World } from '#runtime/api/messages.ts';
import { openNetworkPair, pairAddresses } from './network-pair.ts';
import type { NetworkPair } from './network-pair.ts';

type Encryption = 'none' | 'tls';
type Said = { readonly type: 'endpoint'; readonly endpoint: string } | { readonly type: 'joined'; readonly fault?: string };

/** Two ranks at the ends of a cable that join one world, each with its own word on encryption; what each says at the end. */
async function join2(pair: NetworkPair, encryption: readonly [Encryption, Encryption]): Promise<(string | undefined)[]> {
  const children = pairAddresses.map((address, rank) =>
    fork(join(import.meta.dirname, 'encryption-rank.ts'), [encryption[rank]!, '2'], {
      execArgv: [],
      execPath: pair.node(rank),
      env: {
        ...process.env,
        WL_NAMESPACE: 'default',
        WL_NAME: 'many',
        WL_UID: 'uid',
        WL_ATTEMPT: '0',
        WL_POD_NAME: `many-worker-${rank}`,
        WL_RANK: String(rank),
        WL_WORLD_SIZE: '2',
        WL_POD_IP: address,
        WL_JOB: '{}',
        WL_JOB_DIR: '/nowhere',
        WL_MODELS_DIR: '/nowhere',
        WL_MODELS_URI: 'pvc://nowhere',
      },
    }),
  );
  const next = async (rank: number) => ((await once(children[rank]!, 'message')) as [Said])[0];
  try {
    const listening = await Promise.all([next(0), next(1)]);
    const endpoints = listening.map((said) => (said.type === 'endpoint' ? said.endpoint : ''));
    const ended = [next(0), next(1)];
    for (const [rank, child] of children.entries()) {
      const world: World = { epoch: 1, worldSize: 2, rank, endpoints, secret: 'of this test', deadlineMs: 60_000 };
      child.send({ type: 'world', world });
    }
    return (await Promise.all(ended)).map((said) => (said.type === 'joined' ? said.fault : 'no word'));
  } finally {
    for (const child of children) child.kill('SIGKILL');
  }
}

it.each(['none', 'tls'] as const)('ranks of two hosts meet with encryption %s', async (encryption) => {
  using pair = openNetworkPair();
  expect(await join2(pair, [encryption, encryption])).toEqual([undefined, undefined]);
});

it.each([
  ['none', 'tls'],
  ['tls', 'none'],
] as const)('a rank with encryption %s and one with %s are told that they differ', async (first, second) => {
  using pair = openNetworkPair();
  const [ofFirst, ofSecond] = await join2(pair, [first, second]);
  const words = { none: 'was opened without TLS, this one with it', tls: 'was opened with TLS, this one without it' };
  expect(ofFirst).toContain(`rank 1 of uid-0 ${words[second]}`);
  expect(ofSecond).toContain(`rank 0 of uid-0 ${words[first]}`);
});

it('a server with a certificate, whoever has signed it, is not taken for a rank, and hears nothing', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'wl-encryption-'));
  const authority = await Authority.create(folder, 'nobody');
  const { cert, key } = await authority.server('server', 'rank-0', ['IP:127.0.0.1']);
  const heard: string[] = [];
  const server = createServer({ cert: readFileSync(cert), key: readFileSync(key) }, (socket) => {
    socket.on('data', (data) => heard.push(String(data)));
    socket.on('error', () => {});
  });
  let tried = 0;
  server.on('tlsClientError', () => (tried += 1));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const listener = kernels.commListen({ address: '127.0.0.1' });
  const { port } = server.address() as AddressInfo;
  const endpoints = [`wl1;process=p;host=h;local=l;address=127.0.0.1;port=${port};sockets=1`, listener.endpoint];
  const shared = { name: 'pair', epoch: 1, secret: 'secret', deadlineMs: 5_000, tls: true };
  const handle = kernels.commOpen({ listener: listener.handle, rank: 1, size: 2, endpoints, ...shared });
  try {
    await expect(kernels.commReady(handle)).rejects.toThrow(
      'rank 0: it came with a certificate, where the secret was to be proven',
    );
    expect(tried).toBeGreaterThan(0);
    expect(heard).toEqual([]);
  } finally {
    kernels.commFree(handle);
    kernels.commCloseListener(listener.handle);
    server.close();
    rmSync(folder, { recursive: true });
  }
});
