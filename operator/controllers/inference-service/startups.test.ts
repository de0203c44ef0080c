import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { ManualClock } from '#operator/kube/clock.ts';
import type { Pod } from '#operator/kube/core.ts';
import { createStartupBook } from './startups.ts';

const stack = new AsyncDisposableStack();
afterEach(() => stack.disposeAsync());

const answers = new Map<string, string>();

/** A pod whose engine answers with this; without it nobody listens. */
async function pod(name: string, answer: string | undefined, ready = false): Promise<Pod> {
  if (answer !== undefined) answers.set(name, answer);
  const server = createServer((request, response) => response.end(request.url === '/startup' ? answers.get(name) : '{}'));
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as AddressInfo;
  const close = () => new Promise((done) => server.close(done));
  if (answer === undefined) await close();
  else stack.defer(async () => void (await close()));
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      nodeName: 'node-1',
      restartPolicy: 'Always',
      containers: [{ name: 'engine', image: 'x', command: [], ports: [{ name: 'http', containerPort: port }] }],
    },
    status: {
      phase: 'Running',
      podIP: '127.0.0.1',
      conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }],
      containerStatuses: [{ name: 'engine', ready, restartCount: 0, state: { running: {} } }],
    },
  };
}

it('asks pods that are starting, in whole numbers, and leaves out who does not answer, answers nonsense or is ready', async () => {
  const fetching = { phase: 'fetching', bytes: 10, totalBytes: 100, bytesPerSecond: 3.2, etaSeconds: 28.1 };
  const pods = await Promise.all([
    pod('fetching', JSON.stringify(fetching)),
    pod('loading', '{"phase":"loading"}'),
    pod('nonsense', '{"phase":"asleep"}'),
    pod('foreign', '<html>'),
    pod('gone', undefined),
    pod('ready', '{"phase":"ready"}', true),
  ]);
  const clock = new ManualClock();
  const book = createStartupBook(clock, 60_000);
  const ask = (of: readonly Pod[]) => book.ask('service', of, new AbortController().signal);
  const told = [
    { pod: 'fetching', node: 'node-1', ...fetching, bytesPerSecond: 4, etaSeconds: 29 },
    { pod: 'loading', node: 'node-1', phase: 'loading' },
  ];
  expect(await ask(pods)).toEqual(told);

  // The same pods again a moment later: what they said is enough.
  fetching.bytes = 60;
  answers.set('fetching', JSON.stringify(fetching));
  clock.advance(9_999);
  expect(await ask(pods)).toEqual(told);
  clock.advance(1);
  expect(await ask(pods)).toMatchObject([{ bytes: 60 }, { phase: 'loading' }]);
  expect(await ask(pods.slice(1))).toEqual(told.slice(1));
  expect(await ask([])).toEqual([]);
});
