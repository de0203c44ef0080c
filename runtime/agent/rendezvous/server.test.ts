// What the rendezvous makes of strangers: real gRPC on loopback, agents that break the protocol.
import { once } from 'node:events';
import { Client, credentials } from '@grpc/grpc-js';
import type { ClientDuplexStream, ServiceError } from '@grpc/grpc-js';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { rendezvousService } from '#runtime/api/rendezvous.ts';
import type { FromAgent, ToAgent } from '#runtime/api/rendezvous.ts';
import type { Member } from './coordinator.ts';
import { joinClaim, newNonce, prove } from './proof.ts';
import { serveRendezvous } from './server.ts';
import type { RendezvousServer } from './server.ts';

const secret = 'a secret that only this job knows';
const { path, requestSerialize, responseDeserialize } = rendezvousService.join;

let server: RendezvousServer;
/** What the server of this test passed on; late news of an earlier one must not count. */
let seen: { joined: Member[]; heard: FromAgent[]; left: number };
let clients: Client[];

beforeEach(async () => {
  const news: typeof seen = { joined: [], heard: [], left: 0 };
  seen = news;
  clients = [];
  const coordinator = {
    join(member: Member) {
      news.joined.push(member);
      return { hear: (said: FromAgent) => void news.heard.push(said), leave: () => void (news.left += 1) };
    },
  };
  server = await serveRendezvous({ address: '127.0.0.1', port: 0, secret, attempt: 2, pods: 3, coordinator });
});
afterEach(async () => {
  for (const client of clients) client.close();
  await server.close(0);
});

type Stream<T> = ClientDuplexStream<T, ToAgent>;

function open<T>(serialize: (said: T) => Buffer): Stream<T> {
  const client = new Client(`127.0.0.1:${server.port}`, credentials.createInsecure());
  clients.push(client);
  const stream = client.makeBidiStreamRequest(path, serialize, responseDeserialize);
  // The end of the test cancels those that are still open.
  return stream.on('error', () => {});
}

const refusal = async (stream: Stream<never>) => ((await once(stream, 'error')) as [ServiceError])[0].message;

interface Claim {
  index?: number;
  attempt?: number;
  secret?: string;
  claimedIndex?: number;
}

async function join(claim: Claim = {}): Promise<Stream<FromAgent>> {
  const stream = open(requestSerialize);
  const agentNonce = newNonce();
  stream.write({ case: 'hello', value: { nonce: agentNonce } });
  const [challenge] = (await once(stream, 'data')) as [Extract<ToAgent, { case: 'challenge' }>];
  const serverNonce = challenge.value.nonce;
  const { index = 1, attempt = 2, claimedIndex = index } = claim;
  const member = { index, attempt, pod: 'pod-1', epoch: -1 };
  const text = joinClaim({ ...member, index: claimedIndex });
  const proof = prove(claim.secret ?? secret, { role: 'agent', agentNonce, serverNonce, text });
  stream.write({ case: 'join', value: { ...member, proof } });
  return stream;
}

async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 60_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error('waited in vain');
    await new Promise((done) => setTimeout(done, 5));
  }
}

it('lets an agent of the job in, passes on what both say, and notes when it goes', async () => {
  const stream = await join();
  await until(() => seen.joined.length === 1);
  expect(seen.joined[0]).toMatchObject({ index: 1, pod: 'pod-1', epoch: -1 });
  seen.joined[0]!.send({ case: 'start', value: { epoch: 4, restarts: 1 } });
  expect((await once(stream, 'data'))[0]).toEqual({ case: 'start', value: { epoch: 4, restarts: 1 } });
  const ended: FromAgent = { case: 'ended', value: { epoch: 4, killed: false, signal: 'SIGKILL' } };
  stream.write(ended);
  await until(() => seen.heard.length === 1);
  expect(seen.heard).toEqual([ended]);
  stream.cancel();
  await until(() => seen.left === 1);
});

it.each<[string, Claim, string]>([
  ['without the secret', { secret: 'a secret that is another' }, 'does not know the secret'],
  ['that claims another place than it proves', { index: 1, claimedIndex: 2 }, 'does not know the secret'],
  ['of another attempt', { attempt: 1 }, 'this is attempt 2, the agent is of 1'],
  ['with the place of the rendezvous', { index: 0 }, 'no pod 0'],
  ['with a place that the job does not have', { index: 3 }, 'no pod 3'],
])('refuses an agent %s', async (_, claim, message) => {
  expect(await refusal((await join(claim)) as never)).toContain(message);
  expect(seen.joined).toEqual([]);
});

it('refuses an agent that speaks before it has joined', async () => {
  const stream = open(requestSerialize);
  stream.write({ case: 'leaving', value: {} });
  expect(await refusal(stream as never)).toContain('has not joined');
});

it.each<[string, Buffer]>([
  ['bytes that are no message', Buffer.from('GET / HTTP/1.1')],
  ['an empty message', Buffer.alloc(0)],
  ['a nonce that is too short', Buffer.from([0x0a, 0x03, 0x0a, 0x01, 0x07])],
  ['a message that is too large', Buffer.alloc(2 << 20)],
])('ends the stream of an agent that sends %s, and goes on', async (_, bytes) => {
  const stream = open((said: Buffer) => said);
  stream.write(bytes);
  await refusal(stream as never);
  await join();
  await until(() => seen.joined.length === 1);
});

it.each<[string, FromAgent]>([
  ['an endpoint that is too long', { case: 'endpoint', value: { epoch: 0, endpoint: 'x'.repeat(513) } }],
  ['a negative epoch', { case: 'halted', value: { epoch: -1, step: 3 } }],
  [
    'a phase that does not exist',
    {
      case: 'beat',
      value: { epoch: 0, heartbeat: { step: 1, phase: 'idle' as never, collectives: [], rssBytes: 1, measuredSteps: 0 } },
    },
  ],
])('drops an agent that sends %s, as if it had gone', async (_, said) => {
  const stream = await join();
  await until(() => seen.joined.length === 1);
  stream.write(said);
  await refusal(stream as never);
  await until(() => seen.left === 1);
  expect(seen.heard).toEqual([]);
});
