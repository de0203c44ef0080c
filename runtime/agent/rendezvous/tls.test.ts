// The rendezvous with identities of a real authority: who joins whom, and that certificates are renewed under it.
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { bundleOf, takeStep } from '#operator/trust/authority.ts';
import type { AuthorityStep } from '#operator/trust/authority.ts';
import type { Trust } from '#operator/trust/authority-keeper.ts';
import { newTrust, rules } from '#operator/trust/testing.ts';
import { issue, newKey } from '#operator/trust/x509.ts';
import { jobUri } from '#runtime/api/credentials.ts';
import type { FromAgent } from '#runtime/api/rendezvous.ts';
import type { IdentitySource } from '../identity/grpc.ts';
import type { Identity } from '../identity/request.ts';
import { stayJoined } from './client.ts';
import type { Member } from './coordinator.ts';
import { serveRendezvous } from './server.ts';
import type { RendezvousServer } from './server.ts';

const patience = { timeout: 30_000, interval: 10 };
const secret = 'a secret that only this job knows';
const job = jobUri('default', 'uid-of-moby');

let trust: Trust;
let stack: AsyncDisposableStack;

beforeEach(async () => {
  stack = new AsyncDisposableStack();
  trust = await newTrust();
});
afterEach(() => stack.disposeAsync());

async function identityOf(pod: string, { uri = job, of = trust, host = `${pod}.moby-workers` } = {}): Promise<Identity> {
  const { key, publicKey } = await newKey();
  const now = Date.now();
  const usages = ['server', 'client'] as const;
  const leaf = {
    commonName: pod,
    publicKey,
    dnsNames: [host],
    uris: [uri],
    usages,
    from: now - 1_000,
    until: now + rules.certificateMs,
  };
  const cert = await issue(leaf, of.authority.current);
  return { cert, key, ca: bundleOf(of.authority), secret, bus: { token: undefined, seed: new Uint8Array(), ca: undefined } };
}

/** An identity that may be replaced. */
class Renewable implements IdentitySource {
  current: Identity;
  readonly listeners = new Set<(identity: Identity) => void>();
  constructor(identity: Identity) {
    this.current = identity;
  }
  onRenewed(listener: (identity: Identity) => void): () => void {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }
  renew(identity: Identity): void {
    this.current = identity;
    for (const listener of this.listeners) listener(identity);
  }
}

async function serve(
  identity: IdentitySource | undefined,
): Promise<{ server: RendezvousServer; joined: string[]; heard: FromAgent[] }> {
  const joined: string[] = [];
  const heard: FromAgent[] = [];
  const coordinator = {
    join(member: Member) {
      joined.push(member.pod);
      return { hear: (said: FromAgent) => void heard.push(said), leave: () => {} };
    },
  };
  const tls = identity && { identity, job };
  const server = await serveRendezvous({ address: '127.0.0.1', port: 0, secret, attempt: 0, pods: 3, coordinator, tls });
  stack.defer(() => server.close(0));
  return { server, joined, heard };
}

/** An agent that tries to join until the test ends. Pod 0 is found by a hosts file. */
async function agent(server: RendezvousServer, identity: IdentitySource | undefined, { pod = 'moby-worker-1' } = {}) {
  const { mkdtemp, rm, writeFile } = await import('node:fs/promises');
  const folder = await mkdtemp((await import('node:os')).tmpdir() + '/wl-rendezvous-');
  stack.defer(() => rm(folder, { recursive: true }));
  const hostsFile = `${folder}/hosts`;
  await writeFile(hostsFile, '127.0.0.1 moby-worker-0.moby-workers\n');
  const lost: string[] = [];
  const closing = new AbortController();
  let say: (said: FromAgent) => void = () => {};
  const done = stayJoined(
    {
      host: 'moby-worker-0.moby-workers',
      port: server.port,
      hostsFile,
      secret: () => secret,
      tls: identity && { identity, job },
      index: 1,
      pod,
      attempt: 0,
      epoch: () => -1,
      onJoined: (send) => (say = send),
      onSaid: () => {},
      onLost: ({ message }) => lost.push(message),
    },
    closing.signal,
  );
  const leave = async () => {
    closing.abort();
    await done;
  };
  stack.defer(leave);
  return { lost, leave, say: (said: FromAgent) => say(said) };
}

it('pods of one job join each other', async () => {
  const { server, joined } = await serve(new Renewable(await identityOf('moby-worker-0')));
  await agent(server, new Renewable(await identityOf('moby-worker-1')));
  await vi.waitFor(() => expect(joined).toEqual(['moby-worker-1']), patience);
});

it('an agent without a certificate, or with one of another authority, is not even heard', async () => {
  const { server, joined } = await serve(new Renewable(await identityOf('moby-worker-0')));
  const stranger = await identityOf('moby-worker-1', { of: await newTrust() });
  const agents = [
    await agent(server, undefined),
    await agent(server, new Renewable({ ...stranger, ca: bundleOf(trust.authority) })),
  ];
  for (const { lost } of agents) await vi.waitFor(() => expect(lost.length).toBeGreaterThan(1), patience);
  expect(joined).toEqual([]);
});

it('a pod of another job is refused, though the same authority vouches for it and it knows the secret', async () => {
  const { server, joined } = await serve(new Renewable(await identityOf('moby-worker-0')));
  const foreign = await identityOf('moby-worker-1', { uri: jobUri('default', 'uid-of-other') });
  const { lost } = await agent(server, new Renewable(foreign));
  await vi.waitFor(() => expect(lost.join()).toMatch(/the peer is of another job: .*uid-of-other/), patience);
  expect(joined).toEqual([]);
});

it('a pod of the job can not join in the name of another', async () => {
  const { server, joined } = await serve(new Renewable(await identityOf('moby-worker-0')));
  const { lost } = await agent(server, new Renewable(await identityOf('moby-worker-2')));
  await vi.waitFor(() => expect(lost.join()).toMatch(/the certificate of the agent is not that of pod moby-worker-1/), patience);
  expect(joined).toEqual([]);
});

const impostors: [string, () => Promise<Identity | undefined>, RegExp][] = [
  [
    'a pod of another job',
    () => identityOf('moby-worker-0', { uri: jobUri('default', 'uid-of-other') }),
    /the peer is of another job/,
  ],
  ['another pod of the job', () => identityOf('moby-worker-2'), /moby-worker-0\.moby-workers/],
  ['one of another authority', async () => identityOf('moby-worker-0', { of: await newTrust() }), /certificate|UNAVAILABLE/],
  ['one that speaks no TLS', async () => undefined, /UNAVAILABLE/],
];

it.each(impostors)('an agent says nothing to %s at the address of pod 0', async (_, identity, why) => {
  const held = await identity();
  const { server, joined } = await serve(held && new Renewable(held));
  const { lost } = await agent(server, new Renewable(await identityOf('moby-worker-1')));
  await vi.waitFor(() => expect(lost.join()).toMatch(why), patience);
  expect(joined).toEqual([]);
});

it('the authority changes and goes: who is joined stays joined, and who comes later joins with new certificates', async () => {
  const step = async (...steps: AuthorityStep[]) => {
    for (const next of steps) trust = { ...trust, authority: await takeStep(next, trust.authority, Date.now(), rules) };
  };
  const holder = new Renewable(await identityOf('moby-worker-0'));
  const { server, joined, heard } = await serve(holder);
  const first = await agent(server, new Renewable(await identityOf('moby-worker-1')));
  await vi.waitFor(() => expect(joined).toHaveLength(1), patience);
  await step('announce', 'promote', 'retire');
  const late = new Renewable(await identityOf('moby-worker-1'));
  const second = await agent(server, late);
  await vi.waitFor(() => expect(second.lost.length).toBeGreaterThan(0), patience);
  holder.renew(await identityOf('moby-worker-0'));
  await vi.waitFor(() => expect(joined).toHaveLength(2), patience);
  const ended: FromAgent = { case: 'ended', value: { epoch: 0, killed: false, signal: 'SIGKILL' } };
  first.say(ended);
  await vi.waitFor(() => expect(heard).toEqual([ended]), patience);
  expect(first.lost).toEqual([]);
});
