// The event bus over a real nats-server: what arrives, what a lost server costs, and whom it speaks to.
import { copyFile, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, onTestFinished, vi } from 'vitest';
import { connectBusPublisher } from '#runtime/api/bus-publisher.ts';
import { connectNatsBus } from '#runtime/api/nats-bus.ts';
import type { NatsBusOptions } from '#runtime/api/nats-bus.ts';
import { progressSubject } from '#runtime/api/subjects.ts';
import { Authority } from '../../hack/test-cluster/certificates.ts';
import type { KeyPair } from '../../hack/test-cluster/certificates.ts';
import { NatsServer } from './nats-server.ts';

/** Far longer than a reconnection takes. */
const patience = { timeout: 60_000, interval: 20 };
const subject = progressSubject('default', 'moby');

/** A bus, what its listener of progress has heard, and whether it is connected. */
function busOf(options: Pick<NatsBusOptions, 'server' | 'certificates'>) {
  const heard: unknown[] = [];
  const changes: { connected: boolean; why: string }[] = [];
  const onChange = (connected: boolean, why: string) => void changes.push({ connected, why });
  const bus = connectNatsBus({ name: 'a test', ...options, onChange });
  onTestFinished(() => bus.close());
  bus.subscribe(progressSubject('*', '*'), (payload) => heard.push(payload));
  const state = () => changes.at(-1);
  return { bus, heard, state, connected: () => vi.waitFor(() => expect(state()).toMatchObject({ connected: true }), patience) };
}

const plain = ({ port }: NatsServer) => `nats://127.0.0.1:${port}`;
const encrypted = ({ port }: NatsServer) => `tls://127.0.0.1:${port}`;

it('carries messages to the listeners of their subject, and no more to one that has stopped', async () => {
  await using server = await NatsServer.start();
  const operator = busOf({ server: plain(server) });
  const others: unknown[] = [];
  const stop = operator.bus.subscribe('wl.v1.default.other.progress', (payload) => others.push(payload));
  await operator.connected();
  const agent = connectBusPublisher({ address: plain(server), certificates: undefined, name: 'a pod', log: () => {} });
  agent.publish(subject, { step: 1 });
  await vi.waitFor(() => expect(operator.heard).toEqual([{ step: 1 }]), patience);
  stop();
  agent.publish('wl.v1.default.other.progress', { step: 2 });
  await agent.close(10_000);
  await vi.waitFor(() => expect(operator.heard).toEqual([{ step: 1 }, { step: 2 }]), patience);
  expect(others).toEqual([]);
});

it('says that it is connected when listeners hear all that is published from then on', async () => {
  await using server = await NatsServer.start();
  const agent = busOf({ server: plain(server) });
  await agent.connected();
  for (let round = 0; round < 50; round += 1) {
    const heard: unknown[] = [];
    const onChange = (connected: boolean) => connected && agent.bus.publish(subject, { round });
    await using operator = new AsyncDisposableStack();
    const bus = operator.adopt(connectNatsBus({ name: 'a test', server: plain(server), onChange }), (it) => it.close());
    bus.subscribe(subject, (payload) => heard.push(payload));
    await vi.waitFor(() => expect(heard).toEqual([{ round }]), { timeout: 5_000, interval: 1 });
  }
});

it('goes on through the loss of the server, and listeners catch up with the newest message of each subject', async () => {
  await using server = await NatsServer.start();
  const operator = busOf({ server: plain(server) });
  const agent = busOf({ server: plain(server) });
  await Promise.all([operator.connected(), agent.connected()]);
  await server.kill();
  await vi.waitFor(
    () => expect([operator.state(), agent.state()]).toMatchObject([{ connected: false }, { connected: false }]),
    patience,
  );
  for (let step = 1; step <= 1_000; step += 1) agent.bus.publish(subject, { step });
  await server.up();
  await operator.connected();
  await agent.connected();
  // Whoever is back first: a message published now reaches both.
  agent.bus.publish(progressSubject('default', 'other'), { last: true });
  await vi.waitFor(() => expect(operator.heard.at(-1)).toEqual({ last: true }), patience);
  await vi.waitFor(() => expect(agent.heard.at(-1)).toEqual({ last: true }), patience);
  expect(agent.heard).toEqual([{ step: 1_000 }, { last: true }]);
});

it('never fails and never waits where there is no server', async () => {
  const server = await NatsServer.start();
  await server.kill();
  const { bus, state } = busOf({ server: plain(server) });
  bus.publish(subject, { step: 1 });
  await vi.waitFor(
    () => expect(state()).toMatchObject({ connected: false, why: expect.stringMatching(/refused/) as string }),
    patience,
  );
  await bus.close(10);
  bus.publish(subject, { step: 2 });
});

it('drops what is not JSON, and a message that is too large, and keeps the connection', async () => {
  await using server = await NatsServer.start();
  const operator = busOf({ server: plain(server) });
  await operator.connected();
  const { connect } = await import('nats');
  const stranger = await connect({ servers: `127.0.0.1:${server.port}` });
  stranger.publish(subject, '{"step":');
  await stranger.close();
  operator.bus.publish(subject, { text: 'x'.repeat(2 << 20) });
  operator.bus.publish(subject, { step: 1 });
  await vi.waitFor(() => expect(operator.heard).toEqual([{ step: 1 }]), patience);
  expect(operator.state()).toEqual({ connected: true, why: '' });
});

let folder: string;
let authority: Authority;
let serverFiles: KeyPair;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wl-nats-'));
  authority = await Authority.create(join(folder, 'ca'), 'ca');
  serverFiles = await authority.server('server', 'nats', ['IP:127.0.0.1']);
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

/** A folder of certificates as a Secret of type kubernetes.io/tls is mounted. */
async function certificates(name: string, ca: KeyPair, own?: KeyPair): Promise<string> {
  const path = join(folder, name);
  await mkdir(path, { recursive: true });
  await copyFile(ca.cert, join(path, 'ca.crt'));
  if (own) await Promise.all([copyFile(own.cert, join(path, 'tls.crt')), copyFile(own.key, join(path, 'tls.key'))]);
  return path;
}

const mutualTls = (own = serverFiles) =>
  NatsServer.start('--tlsverify', '--tlscert', own.cert, '--tlskey', own.key, '--tlscacert', authority.ca.cert);

it('speaks to a server that its authority vouches for, shows its own certificate, and takes a renewed one at the next connection', async () => {
  await using server = await mutualTls();
  const files = await certificates('pod', authority.ca);
  const { bus, heard, state, connected } = busOf({ server: encrypted(server), certificates: files });
  await vi.waitFor(() => expect(state()).toMatchObject({ connected: false }), patience);
  await certificates('pod', authority.ca, await authority.client('pod', 'moby'));
  await connected();
  bus.publish(subject, { step: 1 });
  await vi.waitFor(() => expect(heard).toEqual([{ step: 1 }]), patience);
});

it('says nothing to a server that its authority does not vouch for, or for another address, nor without encryption where that was asked for', async () => {
  await using impostor = await mutualTls();
  const stranger = await Authority.create(join(folder, 'other-ca'), 'other');
  const files = await certificates('other', stranger.ca, await authority.client('client', 'moby'));
  const first = busOf({ server: encrypted(impostor), certificates: files });
  await vi.waitFor(
    () => expect(first.state()).toMatchObject({ connected: false, why: expect.stringMatching(/certificate/) as string }),
    patience,
  );

  const elsewhere = await authority.server('elsewhere', 'nats', ['IP:127.0.0.2', 'DNS:localhost']);
  await using other = await mutualTls(elsewhere);
  const ours = await certificates('ours', authority.ca, await authority.client('ours', 'moby'));
  const third = busOf({ server: encrypted(other), certificates: ours });
  await vi.waitFor(
    () => expect(third.state()).toMatchObject({ connected: false, why: expect.stringMatching(/127\.0\.0\.1/) as string }),
    patience,
  );

  await using unencrypted = await NatsServer.start();
  const second = busOf({ server: encrypted(unencrypted), certificates: files });
  await vi.waitFor(
    () => expect(second.state()).toMatchObject({ connected: false, why: expect.stringMatching(/tls/i) as string }),
    patience,
  );
});
