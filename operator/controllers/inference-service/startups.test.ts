import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import type { Pod } from '#operator/kube/core.ts';
import { askStartups } from './startups.ts';

const stack = new AsyncDisposableStack();
afterEach(() => stack.disposeAsync());

/** A pod whose engine answers with this; without it nobody listens. */
async function pod(name: string, answer: string | undefined, ready = false): Promise<Pod> {
  const server = createServer((request, response) => response.end(request.url === '/startup' ? answer : '{}'));
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
  expect(await askStartups(pods, new AbortController().signal, 60_000)).toEqual([
    { pod: 'fetching', node: 'node-1', ...fetching, bytesPerSecond: 4, etaSeconds: 29 },
    { pod: 'loading', node: 'node-1', phase: 'loading' },
  ]);
});
