// `kubectl windlass` as kubectl runs it, on a real API server: what its verbs show, change and collect.
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, inject, it, vi } from 'vitest';
import { parse } from 'yaml';
import { annotation, label } from '#crds/names.ts';
import { InferenceService, TrainingJob } from '#crds/v1alpha1/index.ts';
import { inferenceService, lastWords, trainingJob } from '#operator/controllers/fixtures.ts';
import type { HttpKube } from '#operator/kube/http-kube.ts';
import type { Transport } from '#operator/kube/transport.ts';
import { Pod } from '#operator/kube/core.ts';
import { build } from '../../hack/test-cluster/build.ts';
import { binaryOf } from '../../hack/test-cluster/components.ts';
import { template } from './helm.ts';
import { connect, newNamespace } from './kube.ts';
import { startOperator } from './operator-process.ts';
import type { OperatorProcess } from './operator-process.ts';
import { startStubKubelet } from './stub-kubelet.ts';
import type { StubKubelet } from './stub-kubelet.ts';

let folder: string;
let client: HttpKube;
let transport: Transport;
let namespace: string;
let kubelet: StubKubelet;
let operator: OperatorProcess;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'wl-verbs-'));
  await build(['helm', 'kubectl'], (line) => process.stderr.write(`cluster: ${line}\n`));
  ({ client, transport } = await connect());
  namespace = await newNamespace(client);
  kubelet = await startStubKubelet(namespace, (pod) =>
    pod.metadata.name.startsWith('short-') ? { exitCode: 0, words: lastWords() } : undefined,
  );
  operator = startOperator(namespace);
  await create('moby', fourRanks);
  await create('short');
  await create('alone');
  await client.create(InferenceService, { ...inferenceService('reader'), metadata: { name: 'reader', namespace } });
}, 1_800_000);

afterAll(async () => {
  await operator[Symbol.asyncDispose]();
  await kubelet[Symbol.asyncDispose]();
  transport.close();
  rmSync(folder, { recursive: true, force: true });
});

describe('kubectl windlass', () => {
  it('status shows tables, and a job on a page with its conditions, pods and events', async () => {
    await jobWhere('moby', ({ status }) => status?.state === 'Running');
    const tables = await windlass('status');
    expect(tables.out).toMatch(/^TRAININGJOB +STATE +RANKS [^]*^moby +Running +4\/4 /m);
    expect(tables.out).toMatch(/^INFERENCESERVICE .*\nreader /m);
    expect((await windlass('get', 'tj')).out).not.toContain('INFERENCESERVICE');
    expect((await windlass('get', 'tj', '-A')).out).toMatch(
      new RegExp(`^NAMESPACE +TRAININGJOB .*[^]*^${namespace} +moby `, 'm'),
    );
    expect((await windlass('status', 'tj/moby', '-o', 'name')).out).toBe('trainingjob.windlass.dev/moby\n');
    expect(JSON.parse((await windlass('status', 'tj/moby', '-o', 'json')).out)).toMatchObject({
      kind: 'List',
      items: [{ metadata: { name: 'moby' } }],
    });
    await vi.waitFor(async () => expect((await windlass('status', 'tj/moby')).out).toMatch(/PodCreated: made .*pods?/), waiting);
    const page = await windlass('status', 'job', 'moby');
    expect(page).toMatchObject({ code: 0, err: '' });
    expect(page.out).toMatch(/^moby {2}TrainingJob {2}Running {2}4\/4 ranks\n/);
    expect(page.out).toMatch(/^ {2}Ready +True +Running, since /m);
    expect(page.out).toMatch(/^ {2}moby-worker-2 +node-1 +Running +0 /m);
    for (const line of page.out.split('\n')) expect([...line].length).toBeLessThanOrEqual(80);
  });

  it('says what is not there, and by which right it was refused', async () => {
    const missing = await windlass('status', 'tj/mobby');
    expect(missing).toMatchObject({ code: 64, out: '' });
    expect(missing.err).toContain(
      `WL_OBJECT_NOT_FOUND: mobby is no TrainingJob in namespace ${namespace}; there are: trainingjob/`,
    );
    expect((await windlass('pause', 'nobody')).err).toContain('WL_OBJECT_NOT_FOUND');
    const context = await windlass('status', '--context', 'elsewhere');
    expect(context.err).toContain('WL_CLUSTER_ACCESS: the kubeconfig has no context elsewhere; it has ');
  });

  it('pauses a job and lets it go on, each once', async () => {
    await jobWhere('alone', ({ status }) => status?.state === 'Running');
    const paused = await windlass('pause', 'alone', '--wait');
    expect(paused.out).toMatch(
      /^trainingjob\/alone pauses: its ranks save a checkpoint and end[^]*\ntrainingjob\/alone: done\n$/,
    );
    expect(await podsOf('alone')).toEqual([]);
    expect((await windlass('pause', 'alone')).out).toBe('trainingjob/alone is paused already\n');
    expect((await windlass('restart', 'alone')).out).toBe('trainingjob/alone is paused; resume starts all of its pods anew\n');
    expect((await windlass('resume', 'tj/alone', '--wait')).out).toMatch(/goes on from its last checkpoint[^]*: done\n$/);
    expect((await windlass('resume', 'alone')).out).toBe('trainingjob/alone is not paused\n');
    expect(await podsOf('alone')).toHaveLength(1);
  });

  it('restarts a job once for each request, free of charge', async () => {
    await jobWhere('moby', ({ status }) => status?.state === 'Running');
    const before = await podsOf('moby');
    const restarted = await windlass('restart', 'moby', '--wait', '--timeout', '2m');
    expect(restarted).toMatchObject({ code: 0, err: '' });
    expect(restarted.out).toMatch(/^trainingjob\/moby restarts: [^]*Running[^]*: done\n$/);
    const after = await podsOf('moby');
    expect(after).toHaveLength(4);
    expect(after.filter((uid) => before.includes(uid))).toEqual([]);
    const { status } = await jobWhere('moby', ({ status: now }) => now?.state === 'Running');
    expect(status).toMatchObject({ attempt: 1, restarts: 0 });
    expect(status?.lastFailure).toBeUndefined();
  });

  it('refuses to move a job that has ended', async () => {
    await jobWhere('short', ({ status }) => status?.state === 'Succeeded');
    const { code, err } = await windlass('restart', 'tj/short');
    expect(code).toBe(64);
    expect(err).toContain('WL_HAS_ENDED: trainingjob/short has succeeded: there is nothing to restart');
    expect((await windlass('status', 'tj/short', '--watch')).out).toContain('trainingjob/short: Succeeded, published moby-1');
  });

  it('leaves a service alone while it is paused, and rolls it when it is to restart', async () => {
    const key = { namespace, name: 'reader' };
    const ready = async () => expect((await client.get(InferenceService, key)).status?.readyReplicas).toBe(1);
    await vi.waitFor(ready, waiting);
    const uids = async () =>
      (await client.list(Pod, { namespace, labels: { [label.service]: 'reader' } })).items.map((pod) => pod.metadata.uid);
    const before = await uids();
    expect((await windlass('pause', 'reader')).out).toMatch(/^inferenceservice\/reader is paused: what serves goes on serving/);
    expect((await client.get(InferenceService, key)).metadata.annotations).toMatchObject({ [annotation.paused]: 'true' });
    expect((await windlass('restart', 'reader')).out).toBe('inferenceservice/reader is paused; resume it first\n');
    expect((await windlass('resume', 'reader', '--wait')).out).toMatch(/is updated, scaled and replaced again[^]*: done\n$/);
    expect(await uids()).toEqual(before);
    expect((await windlass('restart', 'reader', '--wait')).out).toMatch(/: done\n$/);
    const after = await uids();
    expect(after).toHaveLength(1);
    expect(before).not.toContain(after[0]);
  });

  it('report packs objects, events and versions, and no secret', async () => {
    await jobWhere('moby', ({ status }) => status?.state === 'Running');
    const secrets = (await client.list(Pod, { namespace, labels: { [label.job]: 'moby' } })).items.flatMap(({ spec }) =>
      (spec.containers[0]?.env ?? []).filter(({ name }) => name === 'WL_SECRET').map(({ value = '' }) => value),
    );
    expect(secrets).toHaveLength(4);
    const file = join(folder, 'report.tar.gz');
    const { code, out } = await windlass('report', 'moby', '--to', file);
    expect(code).toBe(0);
    expect(out).toContain(`wrote ${file} (`);
    const archive = gunzipSync(readFileSync(file)).toString();
    for (const part of [
      'README.txt',
      `objects/${namespace}/trainingjob-moby.yaml`,
      `objects/${namespace}/pod-moby-worker-3.yaml`,
      'events.txt',
      'versions.json',
    ])
      expect(archive).toContain(part);
    expect(archive).toMatch(/- name: WL_SECRET\n +value: "?\[redacted\]/);
    expect(archive).toContain('"gitVersion": "v1.37');
    for (const secret of [...secrets, inject('cluster').token]) expect(archive).not.toContain(secret);
    // There is no kubelet that could pass logs on.
    expect(out).toMatch(/^not read: logs\/.*moby-worker-0\/agent\.log: /m);
    expect((await windlass('report', 'moby', '--to', file)).err).toContain('WL_FILE_EXISTS');
  });

  it('needs no right beyond the role of the chart: who may view can see all, and change nothing', async () => {
    const values = ['--set', `fullnameOverride=${namespace}`, '--set', 'rbac.aggregate=false'];
    const roles = await template(folder, '--namespace', namespace, '--show-only', 'templates/user-roles.yaml', ...values);
    writeFileSync(join(folder, 'roles.yaml'), roles);
    for (const args of [
      ['apply', '-f', 'roles.yaml'],
      ['create', 'serviceaccount', 'viewer', '-n', namespace],
      [
        'create',
        'rolebinding',
        'viewer',
        `--clusterrole=${namespace}-view`,
        `--serviceaccount=${namespace}:viewer`,
        '-n',
        namespace,
      ],
    ])
      expect(await kubectl(...args)).toMatchObject({ code: 0 });
    const token = (await kubectl('create', 'token', 'viewer', '-n', namespace)).out.trim();
    const config = parse(readFileSync(inject('cluster').kubeconfig, 'utf8')) as { users: { name: string }[] };
    const viewer = join(folder, 'viewer.json');
    writeFileSync(viewer, JSON.stringify({ ...config, users: config.users.map(({ name }) => ({ name, user: { token } })) }));
    const page = await windlass('status', 'tj/moby', '--kubeconfig', viewer);
    expect(page).toMatchObject({ code: 0, err: '' });
    expect(page.out).toContain('\nPods\n');
    const report = await windlass('report', 'tj/moby', '--kubeconfig', viewer, '--to', join(folder, 'viewer.tar.gz'));
    expect(report.code).toBe(0);
    expect(report.out).toContain('not read: clustertrainingruntimes: ');
    const refused = await windlass('pause', 'tj/moby', '--kubeconfig', viewer);
    expect(refused.code).toBe(64);
    expect(refused.err).toMatch(/WL_FORBIDDEN: trainingjobs\.windlass\.dev "moby" is forbidden: .* cannot patch /);
    expect(refused.err).toContain('windlass-edit');
    await kubectl('delete', '-f', 'roles.yaml', '--wait=false');
  });

  it('is completed by kubectl: verbs, names, namespaces and flags', async () => {
    const complete = async (...words: string[]) =>
      (await kubectl('__complete', 'windlass', ...words)).out.split('\n').filter((line) => line !== '');
    expect(await complete('re')).toEqual([
      expect.stringMatching(/^report\t/),
      expect.stringMatching(/^resume\t/),
      expect.stringMatching(/^restart\t/),
      ':4',
    ]);
    const names = (lines: string[]) => lines.map((line) => line.split('\t')[0]);
    expect(names(await complete('logs', '-n', namespace, 'mo'))).toEqual(['moby', ':4']);
    expect(names(await complete('status', '-n', namespace, 'tj/mo'))).toEqual(['tj/moby', ':4']);
    expect(await complete('status', '-n', namespace.slice(0, -1))).toContain(namespace);
    expect(await complete('explain', 'WL_DATA_E')).toEqual(['WL_DATA_EMPTY', ':4']);
    expect(await complete('status', '--kube')).toEqual(['--kubeconfig', ':4']);
  });
});

const waiting = { timeout: 90_000, interval: 50 };
const fourRanks = {
  parallelism: { dataReplicate: 4 },
  task: { pretrain: { steps: 400, batch: { sequences: 8, length: 128, grains: 4 } } },
};

async function create(name: string, spec: object = {}): Promise<void> {
  await client.create(TrainingJob, { ...trainingJob(name, spec), metadata: { name, namespace } });
}

function jobWhere(name: string, test: (job: TrainingJob) => boolean): Promise<TrainingJob> {
  return vi.waitFor(async () => {
    const found = await client.get(TrainingJob, { namespace, name });
    if (!test(found)) throw new Error(`not yet: ${JSON.stringify(found.status)}`);
    return found;
  }, waiting);
}

async function podsOf(name: string): Promise<(string | undefined)[]> {
  const { items } = await client.list(Pod, { namespace, labels: { [label.job]: name } });
  return items.map(({ metadata }) => metadata.uid);
}

interface Run {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** A verb in the namespace of the test, started by kubectl. */
function windlass(verb: string, ...args: string[]): Promise<Run> {
  return kubectl('windlass', verb, ...(args.includes('-A') ? [] : ['-n', namespace]), ...args);
}

/** The real kubectl, which finds the plugin on its PATH. */
function kubectl(...args: string[]): Promise<Run> {
  const path = [resolve(import.meta.dirname, '../../bin'), dirname(process.execPath), process.env['PATH']].join(delimiter);
  const env = { ...process.env, PATH: path, KUBECONFIG: inject('cluster').kubeconfig, HOME: folder, WL_COMPLETION_SECONDS: '60' };
  return new Promise((done) => {
    execFile(binaryOf('kubectl'), args, { env, cwd: folder }, (error, out, err) => {
      done({ code: error ? Number(error.code ?? 1) : 0, out, err });
    });
  });
}
