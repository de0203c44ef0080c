import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { label } from '#crds/names.ts';
import { TrainingJob } from '#crds/v1alpha1/index.ts';
import { trainingJob } from '#operator/controllers/fixtures.ts';
import { keyOf } from '#operator/kube/client.ts';
import { Event, Pod } from '#operator/kube/core.ts';
import { HttpKube } from '#operator/kube/http-kube.ts';
import { reply, startRestServer, status } from '#operator/kube/testing/rest-server.ts';
import type { RestServer } from '#operator/kube/testing/rest-server.ts';
import { Transport } from '#operator/kube/transport.ts';
import { startInstance } from '#operator/local/instance.ts';
import { makeStateDir, stateDirOf } from '#operator/local/state-dir.ts';
import { controlApi } from '#operator/local/control-api.ts';
import { pino } from 'pino';
import { createFakeLogs } from '../logs/fake-logs.ts';
import type { FakeLogs } from '../logs/fake-logs.ts';
import type { ClusterTarget, Target } from '../target/target.ts';
import { writeReport } from './report.ts';

/** What nobody may find in a report. */
const planted = {
  env: 'planted-env-0001',
  url: 'planted-url-0002',
  header: 'planted-header-0003',
  echoed: 'planted-echo-0004',
  annotation: 'planted-note-0005',
  own: 'planted-own-0006',
  data: 'planted-data-0007',
};

let folder: string;
let rest: RestServer;
let logs: FakeLogs;
let target: ClusterTarget;
let forbidden: RegExp | undefined;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'wl-report-'));
  rest = await startRestServer();
  logs = createFakeLogs();
  forbidden = undefined;
  rest.intercept = (request, response) => {
    const path = request.url ?? '';
    if (forbidden?.test(path)) reply(response, 403, status(403, 'Forbidden', `User "ishmael" cannot list ${path.split('?')[0]}`));
    else if (path === '/version') reply(response, 200, { gitVersion: 'v1.37.2' });
    else if (path.startsWith('/apis/apps/v1/')) reply(response, 200, { kind: 'DeploymentList', items: [] });
    else return logs.answer(request, response);
    return true;
  };
  const transport = new Transport(rest.access({ headers: { authorization: `Bearer ${planted.own}` } }));
  target = { kind: 'cluster', api: new HttpKube(transport), transport, namespace: 'default' };
});

afterEach(async () => {
  target.transport.close();
  await rest.close();
  rmSync(folder, { recursive: true });
});

async function report(from: Target, words: string[]): Promise<{ said: string; files: Map<string, string> }> {
  const to = join(folder, 'report.tar.gz');
  let said = '';
  await writeReport(from, {
    words,
    to,
    version: '0.0.1',
    now: new Date('2026-01-02T03:04:05Z'),
    write: (text) => void (said += text),
    signal: new AbortController().signal,
  });
  expect(statSync(to).mode & 0o777).toBe(0o600);
  execFileSync('tar', ['-xzf', to, '-C', folder, '--strip-components=1']);
  const names = execFileSync('tar', ['-tzf', to], { encoding: 'utf8' }).trim().split('\n');
  const files = names.map((name) => name.slice(name.indexOf('/') + 1));
  return { said, files: new Map(files.map((name) => [name, readFileSync(join(folder, name), 'utf8')])) };
}

async function plantJob(): Promise<void> {
  const made = trainingJob('moby');
  const note = {
    'team/source': `https://ahab:${planted.data}@corpora/moby.txt`,
    'kubectl.kubernetes.io/last-applied-configuration': `{"x":"${planted.annotation}"}`,
  };
  const job = await rest.kube.create(TrainingJob, { ...made, metadata: { ...made.metadata, annotations: note } });
  await rest.kube.patchStatus(TrainingJob, keyOf(job), {
    state: 'Failed',
    lastFailure: { time: '2026-11-26T09:00:00Z', code: 'WL_DATA_EMPTY', message: 'the corpus has 3 tokens' },
  });
  const { apiVersion, kind, metadata } = job;
  const owner = { apiVersion, kind, name: metadata.name, uid: metadata.uid ?? '', controller: true };
  const pod = await rest.kube.create(Pod, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: 'moby-worker-0',
      namespace: 'default',
      labels: { [label.job]: 'moby', [label.rank]: '0' },
      ownerReferences: [owner],
    },
    spec: {
      restartPolicy: 'Never',
      containers: [
        {
          name: 'agent',
          image: 'windlass:test',
          command: ['windlass', 'agent'],
          env: [
            { name: 'WL_SECRET', value: planted.env },
            { name: 'WL_BUS', value: `nats://ahab:${planted.url}@bus:4222` },
            { name: 'SESSION_COOKIE', value: planted.echoed },
          ],
        },
      ],
    },
  });
  await rest.kube.patchStatus(Pod, keyOf(pod), {
    phase: 'Failed',
    containerStatuses: [{ name: 'agent', ready: false, restartCount: 0, state: { terminated: { exitCode: 64 } } }],
  });
  await rest.kube.create(Event, {
    apiVersion: 'events.k8s.io/v1',
    kind: 'Event',
    metadata: { name: 'moby.1', namespace: 'default' },
    type: 'Warning',
    reason: 'Failed',
    note: `moby-worker-0, WL_DATA_EMPTY, by nats://ahab:${planted.url}@bus:4222`,
    action: 'Fail',
    eventTime: '2026-11-26T09:00:00.000000Z',
    regarding: { apiVersion, kind, name: 'moby', uid: metadata.uid ?? '' },
    reportingController: 'windlass.dev/trainingjob',
    reportingInstance: 'w',
  });
  logs.print('moby-worker-0', 1, 0, `request with Authorization: Bearer ${planted.header}`);
  logs.print('moby-worker-0', 2, 0, `the agent prints ${planted.echoed} by mistake, and ${planted.own}`);
  logs.print('moby-worker-0', 3, 0, 'step 3, loss 5.1');
}

it('packs objects, events, logs and the meaning of codes, with none of the secrets that were planted, and never asks for Secrets', async () => {
  await plantJob();
  const { said, files } = await report(target, ['moby']);
  expect([...files.keys()]).toEqual([
    'README.txt',
    'explain.txt',
    'versions.json',
    'objects/default/trainingjob-moby.yaml',
    'objects/default/pod-moby-worker-0.yaml',
    'events.txt',
    'kubernetes-version.json',
    'logs/default/moby-worker-0/agent.log',
  ]);
  const everything = [...files.values()].join('\n') + said;
  for (const [where, secret] of Object.entries(planted))
    expect({ where, isThere: everything.includes(secret) }).toEqual({ where, isThere: false });
  expect(files.get('logs/default/moby-worker-0/agent.log')).toBe(
    'request with Authorization: [redacted]\nthe agent prints [redacted] by mistake, and [redacted]\nstep 3, loss 5.1\n',
  );
  expect(files.get('explain.txt')).toContain('WL_DATA_EMPTY\n  The data holds too little text');
  expect(files.get('events.txt')).toBe(
    '2026-11-26T09:00:00.000000Z Warning trainingjob/moby Failed: moby-worker-0, WL_DATA_EMPTY, by nats://[redacted]@bus:4222\n',
  );
  expect(files.get('README.txt')).toContain('Could not be read:\n  nothing\n');
  expect(rest.requests.filter((request) => /secrets/i.test(request))).toEqual([]);
});

it('says what could not be read, and why, and packs the rest', async () => {
  await plantJob();
  forbidden = /\/log\?|\/events|\/apis\/apps\//;
  const { said, files } = await report(target, []);
  expect(said).toMatch(
    /^not read: events of namespace default: User "ishmael" cannot list \/apis\/events\.k8s\.io\/v1\/namespaces\/default\/events$/m,
  );
  expect(said).toMatch(/^not read: the operator and its log: User "ishmael" cannot list /m);
  expect(said).toMatch(/^not read: logs\/default\/moby-worker-0\/agent\.log: User "ishmael" cannot list /m);
  expect(files.get('README.txt')).toContain('cannot list');
  expect(files.has('objects/default/pod-moby-worker-0.yaml')).toBe(true);
});

it('packs what an instance of this machine holds, running or not', async () => {
  const state = stateDirOf(join(folder, 'state'));
  makeStateDir(state);
  const instance = await startInstance({
    state,
    workingDir: folder,
    windlassCommand: ['true'],
    log: pino({ enabled: false }),
    onError: () => {},
    onStopRequest: () => {},
  });
  const from: Target = { kind: 'instance', api: controlApi(state), state, namespace: undefined };
  try {
    const made = trainingJob('moby', { suspend: true });
    const annotations = { 'team/hub-token': planted.annotation };
    await instance.client.create(TrainingJob, { ...made, metadata: { ...made.metadata, annotations } });
    mkdirSync(join(state.path, 'logs/default/moby-worker-0'), { recursive: true });
    writeFileSync(
      join(state.path, 'logs/default/moby-worker-0/agent.log'),
      `hub says ${planted.annotation}\nHF_TOKEN=${planted.env}\nstep 3\n`,
    );
    writeFileSync(join(state.path, 'operator.log'), '{"msg":"starting"}\n');
    const { files } = await report(from, ['moby']);
    expect(files.get('logs/default/moby-worker-0/agent.log')).toBe('hub says [redacted]\nHF_TOKEN=[redacted]\nstep 3\n');
    expect([...files.keys()]).toEqual(
      expect.arrayContaining(['objects/default/trainingjob-moby.yaml', 'operator.log', 'events.txt']),
    );
    expect([...files.values()].join('\n')).not.toContain(planted.annotation);
    await expect(report(from, ['nobody'])).rejects.toThrow('holds nothing of the name nobody');
  } finally {
    await instance.stop();
  }
  rmSync(join(folder, 'report.tar.gz'));
  expect((await report(from, ['moby'])).said).toContain('not read: pods and events: no windlass runs on the state folder');
});
