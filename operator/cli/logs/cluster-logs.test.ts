import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { label } from '#crds/names.ts';
import { InferenceService, TrainingJob } from '#crds/v1alpha1/index.ts';
import { inferenceService, trainingJob } from '#operator/controllers/fixtures.ts';
import { keyOf } from '#operator/kube/client.ts';
import { HttpKube } from '#operator/kube/http-kube.ts';
import { Pod } from '#operator/kube/core.ts';
import { reply, startRestServer, status } from '#operator/kube/testing/rest-server.ts';
import type { RestServer } from '#operator/kube/testing/rest-server.ts';
import { Transport } from '#operator/kube/transport.ts';
import type { ClusterTarget } from '../target/target.ts';
import { clusterLogs } from './cluster-logs.ts';
import type { LogsOptions } from './cluster-logs.ts';
import { createFakeLogs } from './fake-logs.ts';
import type { FakeLogs } from './fake-logs.ts';

let rest: RestServer;
let logs: FakeLogs;
let target: ClusterTarget;
let job: TrainingJob;

beforeEach(async () => {
  rest = await startRestServer();
  logs = createFakeLogs();
  rest.intercept = logs.answer;
  const transport = new Transport(rest.access());
  target = { kind: 'cluster', api: new HttpKube(transport), transport, namespace: 'default' };
  job = await rest.kube.create(TrainingJob, trainingJob('moby'));
  await rest.kube.patchStatus(TrainingJob, keyOf(job), { state: 'Running', summary: { ranks: '2/2' } });
});

afterEach(async () => {
  target.transport.close();
  await rest.close();
});

const running = {
  containerStatuses: [{ name: 'agent', ready: true, restartCount: 0, state: { running: {} } }],
  phase: 'Running',
};
const failed = (exitCode: number) => ({
  phase: 'Failed',
  containerStatuses: [{ name: 'agent', ready: false, restartCount: 0, state: { terminated: { exitCode } } }],
});

async function makePod(rank: number, state: object = running, owner: TrainingJob | InferenceService = job): Promise<Pod> {
  const isJob = owner.kind === 'TrainingJob';
  const name = isJob ? `moby-worker-${rank}` : `reader-abc-${rank}`;
  const labels = isJob
    ? { [label.job]: 'moby', [label.rank]: String(rank), [label.attempt]: '0' }
    : { [label.service]: 'reader' };
  const { apiVersion, kind, metadata } = owner;
  const ownerReferences = [{ apiVersion, kind, name: metadata.name, uid: metadata.uid ?? '', controller: true }];
  const pod = await rest.kube.create(Pod, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default', labels, ownerReferences },
    spec: {
      nodeName: 'node-1',
      restartPolicy: isJob ? 'Never' : 'Always',
      containers: [{ name: 'agent', image: 'i', command: [] }],
    },
  });
  await rest.kube.patchStatus(Pod, keyOf(pod), state);
  return pod;
}

function run(more: Partial<LogsOptions> = {}) {
  const stop = new AbortController();
  const result = { out: '', remarks: '', stop, ended: Promise.resolve() };
  const options: LogsOptions = {
    words: ['moby'],
    follow: false,
    previous: false,
    coloured: false,
    write: async (text) => void (result.out += text),
    remark: (text) => void (result.remarks += text),
    signal: stop.signal,
    ...more,
  };
  result.ended = clusterLogs(target, options);
  return result;
}

const sees = (result: { out: string }, text: string) => vi.waitFor(() => expect(result.out).toContain(text), { timeout: 30_000 });
const endJob = () =>
  rest.kube.patchStatus(TrainingJob, keyOf(job), {
    state: 'Succeeded',
    conditions: [
      { type: 'Complete', status: 'True', reason: 'Published', message: '', lastTransitionTime: '2026-11-26T10:01:00Z' },
    ],
  });

it('prints the lines of all ranks in the order of their times, each with the name of its pod', async () => {
  await Promise.all([makePod(0), makePod(1)]);
  logs.print('moby-worker-0', 1, 5, 'one');
  logs.print('moby-worker-1', 1, 7, 'two');
  logs.print('moby-worker-0', 2, 0, '');
  logs.print('moby-worker-0', 2, 0, 'three');
  const all = run();
  await all.ended;
  expect(all.out).toBe('moby-worker-0: one\nmoby-worker-1: two\n\nmoby-worker-0: three\n');
  const second = run({ rank: 1 });
  await second.ended;
  expect(second.out).toBe('two\n');
  const tail = run({ words: ['tj/moby'], tail: 1, coloured: true });
  await tail.ended;
  expect(tail.out).toBe('\u001B[36mmoby-worker-1:\u001B[0m two\n\u001B[33mmoby-worker-0:\u001B[0m three\n');
  const pod = run({ words: ['moby-worker-1'], sinceSeconds: 60 });
  await pod.ended;
  expect(pod.out).toBe('two\n');
  expect(rest.requests.at(-1)).toContain('sinceSeconds=60');
});

it('follows through cut connections and prints each line once, also those of one moment', async () => {
  await makePod(0);
  const follow = run({ follow: true });
  logs.print('moby-worker-0', 1, 5, 'a');
  logs.print('moby-worker-0', 1, 5, 'b');
  await sees(follow, 'b\n');
  logs.cut('moby-worker-0');
  logs.print('moby-worker-0', 1, 5, 'b');
  logs.print('moby-worker-0', 1, 6, 'c');
  await sees(follow, 'c\n');
  expect(follow.out).toBe('moby-worker-0: a\nmoby-worker-0: b\nmoby-worker-0: b\nmoby-worker-0: c\n');
  follow.stop.abort();
  await follow.ended;
});

it('follows pods that are replaced, says so, and ends when the job has ended', async () => {
  const [, lost] = await Promise.all([makePod(0), makePod(1)]);
  const follow = run({ follow: true });
  logs.print('moby-worker-1', 1, 0, 'before');
  await sees(follow, 'moby-worker-1: before');
  await rest.kube.patchStatus(Pod, keyOf(lost), failed(137));
  logs.end('moby-worker-1');
  await rest.kube.delete(Pod, keyOf(lost), { gracePeriodSeconds: 0 });
  logs.replace('moby-worker-1');
  logs.print('moby-worker-1', 3, 0, 'after');
  const fresh = await makePod(1);
  await sees(follow, 'moby-worker-1: after');
  expect(follow.remarks).toBe('(moby-worker-1 is a new pod of attempt 0, on node-1)\n');
  for (const pod of [await rest.kube.get(Pod, { namespace: 'default', name: 'moby-worker-0' }), fresh]) {
    logs.print(pod.metadata.name, 4, 0, 'last words');
    await rest.kube.patchStatus(Pod, keyOf(pod), failed(0));
    logs.end(pod.metadata.name);
  }
  await endJob();
  await follow.ended;
  for (const rank of [0, 1]) expect(follow.out).toContain(`moby-worker-${rank}: last words\n`);
});

it('follows a container that is started again in its pod, with what it said last', async () => {
  const service = await rest.kube.create(InferenceService, inferenceService('reader'));
  const pod = await makePod(0, running, service);
  const follow = run({ words: ['isvc/reader'], follow: true });
  logs.print('reader-abc-0', 1, 0, 'first life');
  await sees(follow, 'first life');
  // Nobody passes logs on while the container is started again, until the reader knows that it was.
  const refused: string[] = [];
  rest.intercept = (request, response) => {
    if (!request.url?.includes('/log?')) return false;
    refused.push(request.url);
    reply(response, 503, status(503, 'ServiceUnavailable', 'the kubelet is away'));
    return true;
  };
  logs.cut('reader-abc-0');
  logs.print('reader-abc-0', 2, 0, 'its last words');
  logs.restart('reader-abc-0');
  logs.print('reader-abc-0', 3, 0, 'second life');
  const [container] = running.containerStatuses;
  await rest.kube.patchStatus(Pod, keyOf(pod), {
    containerStatuses: [{ ...container, restartCount: 1, lastState: { terminated: { exitCode: 1 } } }],
  });
  await vi.waitFor(() => expect(refused.at(-1)).toContain('previous=true'), { timeout: 30_000 });
  rest.intercept = logs.answer;
  await sees(follow, 'reader-abc-0: its last words\nreader-abc-0: second life\n');
  expect(follow.out.match(/first life/g)).toHaveLength(1);
  expect(follow.remarks.match(/trying again/g)).toHaveLength(1);
  // A service is followed until it is deleted.
  logs.end('reader-abc-0');
  await rest.kube.delete(InferenceService, keyOf(service));
  await rest.kube.delete(Pod, keyOf(pod), { gracePeriodSeconds: 0 }).catch(() => {});
  await follow.ended;
});

it('waits with reading while nobody takes the lines', async () => {
  await makePod(0);
  for (let line = 0; line < 5; line++) logs.print('moby-worker-0', 1, line, `line ${line}`);
  const taken: string[] = [];
  const gate = Promise.withResolvers<void>();
  const slow = run({
    write: async (text) => {
      taken.push(text);
      if (taken.length === 2) await gate.promise;
    },
  });
  await vi.waitFor(() => expect(taken).toHaveLength(2), { timeout: 30_000 });
  await new Promise((resolve) => setImmediate(resolve));
  expect(taken).toHaveLength(2);
  gate.resolve();
  await slow.ended;
  expect(taken).toHaveLength(5);
});

it('says what is missing: a name, a pod, a log, a right', async () => {
  await expect(run({ words: ['nobody'] }).ended).rejects.toThrow(
    'nobody is no TrainingJob, InferenceService in namespace default; there are: trainingjob/moby',
  );
  await expect(run().ended).rejects.toThrow('trainingjob/moby has no pod now (Running)');
  await makePod(0);
  rest.intercept = (request, response) => {
    if (!request.url?.includes('/log?')) return false;
    reply(
      response,
      400,
      status(400, 'BadRequest', 'container "agent" in pod "moby-worker-0" is waiting to start: ContainerCreating'),
    );
    return true;
  };
  const waiting = run();
  await waiting.ended;
  expect(waiting.remarks).toBe(
    '(moby-worker-0, Running: container "agent" in pod "moby-worker-0" is waiting to start: ContainerCreating)\n',
  );
  rest.intercept = (request, response) => {
    if (!request.url?.includes('/log?')) return false;
    reply(
      response,
      403,
      status(403, 'Forbidden', 'pods "moby-worker-0" is forbidden: User "ishmael" cannot get resource "pods/log"'),
    );
    return true;
  };
  for (const follow of [false, true]) await expect(run({ follow }).ended).rejects.toThrow('cannot get resource "pods/log"');
});
