// The bundled bus as the operator sets it up, on a real nats-server: who may say what, whom it lets in, and that authorities change under it while
// connections live.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { NatsConnection } from 'nats';
import { connect, jwtAuthenticator } from 'nats';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { busSecret } from '#operator/controllers/access.ts';
import { systemClock } from '#operator/kube/clock.ts';
import { Secret } from '#operator/kube/core.ts';
import { MemoryKube } from '#operator/kube/memory-kube.ts';
import { takeStep } from '#operator/trust/authority.ts';
import type { AuthorityStep } from '#operator/trust/authority.ts';
import type { Trust } from '#operator/trust/authority-keeper.ts';
import { userToken } from '#operator/trust/bus-accounts.ts';
import { BusKeeper } from '#operator/trust/bus-keeper.ts';
import { clientIdentity, listenerLogin } from '#operator/trust/own-identity.ts';
import { newTrust, rules } from '#operator/trust/testing.ts';
import { newBusKey } from '#runtime/api/bus-key.ts';
import { connectNatsBus } from '#runtime/api/nats-bus.ts';
import type { BusIdentity, NatsBus } from '#runtime/api/nats-bus.ts';
import { jobSubjects, progressSubject } from '#runtime/api/subjects.ts';
import { NatsServer } from './nats-server.ts';

const patience = { timeout: 60_000, interval: 20 };
const key = { namespace: 'windlass-system', name: busSecret };
/** The name that loopback has everywhere. */
const host = 'localhost';

let folder: string;
let trust: Trust;
let server: NatsServer;
let keeper: BusKeeper;
let changes: string[];
let served: string;
let kube: MemoryKube;
let stack: AsyncDisposableStack;

beforeEach(async () => {
  stack = new AsyncDisposableStack();
  folder = mkdtempSync(join(tmpdir(), 'wl-bus-'));
  stack.defer(() => rmSync(folder, { recursive: true }));
  trust = await newTrust();
  kube = new MemoryKube();
  changes = [];
  // The Secret is written before there is a server to ask.
  await keeperFor(1)
    .look()
    .catch(() => {});
  await mount();
  server = stack.use(await NatsServer.start('--config', join(folder, 'nats.conf')));
  keeper = keeperFor(server.port);
});
afterEach(() => stack.disposeAsync());

function keeperFor(port: number): BusKeeper {
  const { certificateMs } = rules;
  return new BusKeeper({
    client: kube,
    clock: systemClock,
    secret: key,
    host,
    port,
    trust: () => trust,
    certificateMs,
    files: folder,
    leads: () => true,
    onChange: (what) => changes.push(what),
    onServed: (certificate) => (served = certificate),
  });
}

/** What a kubelet does some time after the Secret changed. */
async function mount(): Promise<void> {
  const { data } = await kube.get(Secret, key);
  for (const [name, text] of Object.entries(data!)) writeFileSync(join(folder, name), Buffer.from(text, 'base64'));
}

async function podIdentity(name: string, of = trust): Promise<BusIdentity> {
  const { publicKey, seed } = await newBusKey();
  const now = Date.now();
  const user = {
    publicKey,
    name,
    mayPublish: [jobSubjects('default', name)],
    maySubscribe: [],
    until: now + rules.certificateMs,
  };
  return {
    ...(await clientIdentity(of, now, rules.certificateMs)),
    login: { token: await userToken(user, of.bus.account, now), seed },
  };
}

async function operatorIdentity(of = trust): Promise<BusIdentity> {
  const now = Date.now();
  return { ...(await clientIdentity(of, now, rules.certificateMs)), login: await listenerLogin(of, now, rules.certificateMs) };
}

function busOf(identity: () => Promise<BusIdentity>): {
  bus: NatsBus;
  heard: unknown[];
  states: { connected: boolean; why: string }[];
} {
  const heard: unknown[] = [];
  const states: { connected: boolean; why: string }[] = [];
  const bus = connectNatsBus({
    server: `tls://${host}:${server.port}`,
    name: 'a test',
    identity,
    onChange: (connected, why) => void states.push({ connected, why }),
  });
  stack.defer(() => bus.close());
  bus.subscribe(progressSubject('*', '*'), (payload, subject) => heard.push([subject.split('.')[3], payload]));
  return { bus, heard, states };
}

const connected = (states: { connected: boolean }[]) =>
  vi.waitFor(() => expect(states.at(-1)).toMatchObject({ connected: true }), patience);

/** The client of the project itself, as an attacker would use it. */
async function raw({ cert, key: own, ca, login }: BusIdentity, more: object = {}): Promise<NatsConnection> {
  const connection = await connect({
    servers: `${host}:${server.port}`,
    reconnect: false,
    tls: { cert, key: own, ca: ca!, handshakeFirst: true },
    ...(login ? { authenticator: jwtAuthenticator(login.token, login.seed) } : {}),
    ...more,
  });
  stack.defer(() => connection.close());
  return connection;
}

it('the operator hears what a job reports, and what it reports in the name of another is dropped', async () => {
  const operator = busOf(operatorIdentity);
  const moby = busOf(() => podIdentity('moby'));
  await connected(operator.states);
  await connected(moby.states);
  moby.bus.publish(progressSubject('default', 'other'), { forged: 1 });
  moby.bus.publish(progressSubject('other', 'moby'), { forged: 2 });
  moby.bus.publish('$SYS.REQ.SERVER.PING', {});
  moby.bus.publish(progressSubject('default', 'moby'), { step: 1 });
  await vi.waitFor(() => expect(operator.heard).toEqual([['moby', { step: 1 }]]), patience);
});

it('a job can listen to nobody, not even to itself', async () => {
  const moby = await raw(await podIdentity('moby'));
  for (const subject of ['>', 'wl.v1.>', progressSubject('default', 'moby'), '_INBOX.>', '$SYS.>']) {
    const refused = new Promise<Error>((resolve) => {
      const callback = (error: Error | null) => {
        if (error) resolve(error);
      };
      moby.subscribe(subject, { callback });
    });
    expect((await refused).message).toMatch(/Permissions Violation for Subscription/);
  }
});

it('lets nobody in without a certificate of its authority, and nobody without a token of its accounts', async () => {
  const [known, stranger] = [await podIdentity('moby'), await podIdentity('moby', await newTrust())];
  await expect(raw({ ...known, cert: stranger.cert, key: stranger.key })).rejects.toThrow();
  await expect(raw({ ...known, login: stranger.login })).rejects.toThrow(/Authorization/i);
  await expect(raw({ ...known, login: undefined })).rejects.toThrow(/Authorization/i);
  await expect(raw({ ...known, login: { ...known.login!, seed: (await newBusKey()).seed } })).rejects.toThrow(/Authorization/i);
  const { ca } = known;
  await expect(raw({ ...known, ca: stranger.ca })).rejects.toThrow(/certificate/);
  const bare = connect({ servers: `${host}:${server.port}`, reconnect: false, tls: { ca: ca!, handshakeFirst: true } });
  await expect(bare).rejects.toThrow();
  await (await raw(known)).flush();
});

it('a token ends with its time, and its connection with it', async () => {
  const { publicKey, seed } = await newBusKey();
  const now = Date.now();
  const user = { publicKey, name: 'moby', mayPublish: [jobSubjects('default', 'moby')], maySubscribe: [], until: now + 8_000 };
  const login = { token: await userToken(user, trust.bus.account, now), seed };
  const identity = { ...(await clientIdentity(trust, now, rules.certificateMs)), login };
  const connection = await raw(identity);
  expect(String(await connection.closed())).toMatch(/expired/i);
  // Within its last second the server lets it in once more, to end it at once.
  await vi.waitFor(() => expect(raw(identity).then(() => 'in', String)).resolves.toMatch(/Authorization|expired/i), patience);
});

const turn = async (step: AuthorityStep): Promise<void> => {
  trust = { ...trust, authority: await takeStep(step, trust.authority, Date.now(), rules) };
};

it('the authority changes while connections live: both old and new ones are let in, then only new ones, and nothing is cut', async () => {
  const before = trust;
  const oldIdentity = await podIdentity('moby');
  const living = await raw(oldIdentity);
  const operator = busOf(operatorIdentity);
  await connected(operator.states);
  const publish = async (step: number) => {
    living.publish(progressSubject('default', 'moby'), JSON.stringify({ step }));
    await vi.waitFor(() => expect(operator.heard.at(-1)).toEqual(['moby', { step }]), patience);
  };
  await publish(1);

  for (const step of ['announce', 'promote'] as const) {
    await turn(step);
    await keeper.look();
    expect(changes.at(-1)).toBe('written');
    const written = Buffer.from((await kube.get(Secret, key)).data!['tls.crt']!, 'base64').toString();
    expect(served).not.toBe(written);
    await mount();
    await keeper.look();
    expect(changes.at(-1)).toBe('reloaded');
    expect(served).toBe(written);
  }
  await publish(2);
  const both = [await podIdentity('moby'), { ...oldIdentity, ca: (await podIdentity('moby')).ca }];
  for (const identity of both) await (await raw(identity)).flush();

  await turn('retire');
  await keeper.look();
  await mount();
  await keeper.look();
  expect(changes).toEqual(['written', ...Array.from({ length: 3 }, () => ['written', 'reloaded']).flat()]);
  await publish(3);
  await (await raw(await podIdentity('moby'))).flush();
  const fromBefore = await podIdentity('moby', before);
  await expect(raw({ ...fromBefore, ca: both[0]!.ca })).rejects.toThrow();
  expect(operator.states).toEqual([{ connected: true, why: '' }]);
  expect(living.isClosed()).toBe(false);
});

it('asks a server that has taken everything for nothing more', async () => {
  await keeper.look();
  const seen = await kube.get(Secret, key);
  await server.kill();
  await keeper.look();
  expect(await kube.get(Secret, key)).toEqual(seen);
});
