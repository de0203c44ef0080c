// The chart on real nodes: installed by Helm, it trains and serves the quickstart, and a job of four ranks over two nodes; then all of it goes.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { imageName } from '../../hack/oci-image/image.ts';
import { startNodeCluster } from '../../hack/test-cluster/cluster.ts';
import type { TestCluster } from '../../hack/test-cluster/cluster.ts';
import { capture } from '../../hack/test-cluster/command.ts';
import { binaryOf } from '../../hack/test-cluster/components.ts';
import { prepareInstallation, system, team } from '../../hack/test-cluster/installation.ts';
import { chart, helm } from '../cluster/helm.ts';

const root = resolve(import.meta.dirname, '../..');
const limitMs = 600_000;
const limit = `--timeout=${limitMs / 1000}s`;

let cluster: TestCluster;
let folder: string;
let values: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'wl-release-'));
  cluster = await startNodeCluster({ nodes: 2, say: (line) => process.stderr.write(`cluster: ${line}\n`) });
  ({ values } = await prepareInstallation(cluster, folder));
}, 3_600_000);

afterAll(async () => {
  await cluster?.stop();
  rmSync(folder, { recursive: true, force: true });
});

test(
  'helm install --wait ends when two operators are ready, and helm test finds them working',
  { timeout: limitMs },
  async () => {
    await inRelease('install', 'windlass', chart, '--values', values, '--wait', '--timeout=8m');
    const ready = [
      'get',
      'deployments',
      '--namespace',
      system,
      '-o',
      'jsonpath={range .items[*]}{.metadata.name} {.status.readyReplicas}{"\\n"}{end}',
    ];
    expect(await kubectl(...ready)).toBe('windlass 2\nwindlass-bus 1\n');
    expect(await inRelease('test', 'windlass', '--timeout=5m')).toContain('Succeeded');
  },
);

test('the quickstart trains, tells its progress, publishes, and answers another pod', { timeout: 2 * limitMs }, async () => {
  const quickstart = readFileSync(join(root, 'examples/quickstart.yaml'), 'utf8');
  await apply(quickstart);
  await vi.waitFor(async () => expect(Number(await job('moby', '.status.progress.step'))).toBeGreaterThan(0), waiting);
  await kubectl('wait', 'trainingjob/moby', '--namespace', team, '--for=condition=Complete', limit);
  expect(await job('moby', '.status.summary.step')).toBe('600/600');
  expect(await job('moby', '.status.restarts')).toBe('0');
  expect(await kubectl('get', 'modelversions', '--namespace', team, '-o', 'name')).toBe('modelversion.windlass.dev/moby-1\n');
  await kubectl('wait', 'inferenceservice/moby', '--namespace', team, '--for=condition=Ready', limit);
  const url = await kubectl('get', 'inferenceservice', 'moby', '--namespace', team, '-o', 'jsonpath={.status.url}');
  expect(await ask(`${url}/v1/completions`, { model: 'moby', prompt: 'Call me', max_tokens: 8 })).toMatchObject({
    usage: { completion_tokens: 8 },
  });
});

test(
  'four ranks, two to a node, train one model through TLS, and the operator that leads may go meanwhile',
  { timeout: 2 * limitMs },
  async () => {
    // Two of them fit on a node, whatever its size; three do not.
    const requests = { cpu: `${350 * availableParallelism()}m` };
    const manifest = {
      apiVersion: 'windlass.dev/v1alpha1',
      kind: 'TrainingJob',
      metadata: { name: 'four' },
      spec: {
        model: { family: 'llama', config: { hiddenSize: 64, intermediateSize: 128, layers: 2, heads: 4 } },
        data: { uri: 'sample://moby-dick', tokenizer: { train: { vocabularySize: 1024 } } },
        parallelism: { dataReplicate: 2, tensor: 2, encryption: 'tls' },
        task: { pretrain: { steps: 10, batch: { sequences: 4, length: 64, grains: 2 } } },
        podTemplate: { resources: { requests } },
        output: { model: 'four' },
      },
    };
    await apply(JSON.stringify(manifest));
    const pods = ['get', 'pods', '--namespace', team, '-l', 'windlass.dev/job=four', '-o'];
    const uids = async () => (await kubectl(...pods, 'jsonpath={.items[*].metadata.uid}')).split(' ').toSorted();
    await vi.waitFor(async () => expect(await job('four', '.status.state')).toBe('Running'), waiting);
    const nodes = (await kubectl(...pods, 'jsonpath={.items[*].spec.nodeName}')).split(' ').toSorted();
    expect(nodes).toEqual(['node-1', 'node-1', 'node-2', 'node-2']);
    expect(await job('four', ".status.conditions[?(@.type=='GangScheduled')].reason")).toBe('Placed');
    const group = await kubectl(
      'get',
      'podgroup',
      'four-workers-0',
      '--namespace',
      team,
      '-o',
      'jsonpath={.status.conditions[*].reason}',
    );
    expect(group).toBe('Scheduled');
    const before = await uids();
    const lease = ['get', 'lease', 'windlass-operator', '--namespace', system, '-o', 'jsonpath={.spec.holderIdentity}'];
    const [leader = ''] = (await kubectl(...lease)).split('_');
    await kubectl('delete', 'pod', leader, '--namespace', system, '--wait=false');
    await kubectl('wait', 'trainingjob/four', '--namespace', team, '--for=condition=Complete', limit);
    await vi.waitFor(
      async () => expect(await kubectl(...lease)).toMatch(new RegExp(`^windlass-(?!${leader.slice(9)}_)`)),
      waiting,
    );
    expect(await uids()).toEqual(before);
    expect(await job('four', '.status.restarts')).toBe('0');
  },
);

test('a pod without credentials is heard by nobody, and gets none in the name of a job', { timeout: 2 * limitMs }, async () => {
  const spec = {
    model: { family: 'llama', config: { hiddenSize: 64, intermediateSize: 128, layers: 2, heads: 4 } },
    data: { uri: 'sample://moby-dick', tokenizer: { train: { vocabularySize: 1024 } } },
    parallelism: { dataReplicate: 2 },
    task: { pretrain: { steps: 1_000_000, batch: { sequences: 4, length: 64, grains: 2 } } },
    output: { model: 'long' },
  };
  await apply(JSON.stringify({ apiVersion: 'windlass.dev/v1alpha1', kind: 'TrainingJob', metadata: { name: 'long' }, spec }));
  await vi.waitFor(async () => expect(Number(await job('long', '.status.progress.step'))).toBeGreaterThan(0), waiting);
  const worker = await kubectl('get', 'pod', 'long-worker-1', '--namespace', team, '-o', 'json');
  expect(worker).not.toContain('WL_SECRET');
  const { uid } = (JSON.parse(await kubectl('get', 'trainingjob', 'long', '--namespace', team, '-o', 'json')) as Labelled)
    .metadata;
  const owner = { apiVersion: 'windlass.dev/v1alpha1', kind: 'TrainingJob', name: 'long', uid, controller: true };
  const { labels } = (JSON.parse(worker) as Labelled).metadata;
  expect(await tell('stranger', strangerProgram, { labels, ownerReferences: [owner] })).toEqual({
    bus: 'closed',
    rendezvous: 'closed',
    credentials: expect.stringMatching(/^403 .*pod team\/stranger: TrainingJob long has no such pod/) as string,
  });
  await kubectl('delete', 'trainingjob', 'long', '--namespace', team, limit);
});

test('what is deleted takes everything along that was made for it', { timeout: limitMs }, async () => {
  await kubectl('delete', 'trainingjobs,inferenceservices,models,modelversions', '--all', '--namespace', team, limit);
  const left = ['get', 'pods,services,endpointslices,models,modelversions', '--namespace', team, '-o', 'name'];
  await vi.waitFor(async () => expect(await kubectl(...left)).toBe(''), waiting);
});

test('helm uninstall leaves the CRDs, and nothing else', { timeout: limitMs }, async () => {
  await inRelease('uninstall', 'windlass', '--wait', '--timeout=5m');
  const left = ['get', 'pods,services,deployments,roles,rolebindings,networkpolicies', '--namespace', system, '-o', 'name'];
  await vi.waitFor(async () => expect(await kubectl(...left)).toBe(''), waiting);
  expect(await kubectl('get', 'clusterroles,clusterrolebindings', '-o', 'name')).not.toContain('windlass');
  expect(await kubectl('get', 'crds', '-o', 'name')).toContain('trainingjobs.windlass.dev');
});

const waiting = { timeout: limitMs, interval: 500 };

interface Labelled {
  readonly metadata: { readonly uid: string; readonly labels: Record<string, string> };
}

/** What an HTTP server of the cluster answers a pod that posts JSON. */
async function ask(url: string, body: object): Promise<unknown> {
  const request = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
  return await tell(
    'client',
    `fetch(${JSON.stringify(url)}, ${JSON.stringify(request)}).then((answer) => answer.text()).then(console.log)`,
  );
}

/**
 * Whether bus and rendezvous say anything to one without a certificate, and what the operator answers to a token that is good but not of a pod of
 * the job: the pod says of itself that the job owns it.
 */
const strangerProgram = `
const { readFileSync } = require('node:fs');
const tls = require('node:tls');
const heard = (host, port) => new Promise((resolve) => {
  const socket = tls.connect({ host, port, rejectUnauthorized: false, ALPNProtocols: ['h2'] });
  socket.once('secureConnect', () => socket.write('PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n'));
  socket.once('data', () => resolve('heard'));
  socket.once('error', () => resolve('closed'));
  socket.once('close', () => resolve('closed'));
});
const credentials = async () => {
  const token = readFileSync('/var/run/secrets/windlass/token', 'utf8');
  process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
  const headers = { authorization: 'Bearer ' + token };
  const url = 'https://windlass-credentials.windlass-system.svc:8443/v1/credentials';
  const answer = await fetch(url, { method: 'POST', headers, body: '{}' });
  return answer.status + ' ' + (await answer.text());
};
(async () => {
  const bus = await heard('windlass-bus.windlass-system.svc', 4222);
  const rendezvous = await heard('long-worker-0.long-workers', 29400);
  console.log(JSON.stringify({ bus, rendezvous, credentials: await credentials() }));
})();
`;

/** What a program prints, as JSON, that a pod of the team runs. */
async function tell(name: string, program: string, metadata: object = {}): Promise<unknown> {
  const serviceAccountToken = { audience: 'windlass', expirationSeconds: 3600, path: 'token' };
  await create({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { ...metadata, name, namespace: team },
    spec: {
      restartPolicy: 'Never',
      securityContext: { runAsNonRoot: true, fsGroup: 65_532, seccompProfile: { type: 'RuntimeDefault' } },
      containers: [
        {
          name: 'client',
          image: imageName,
          command: ['/usr/bin/node', '--no-warnings', '-e', program],
          volumeMounts: [{ name: 'token', mountPath: '/var/run/secrets/windlass' }],
          securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
        },
      ],
      volumes: [{ name: 'token', projected: { sources: [{ serviceAccountToken }] } }],
    },
  });
  await kubectl('wait', `pod/${name}`, '--namespace', team, '--for=jsonpath={.status.phase}=Succeeded', limit);
  const answer: unknown = JSON.parse(await kubectl('logs', name, '--namespace', team));
  await kubectl('delete', 'pod', name, '--namespace', team);
  return answer;
}

const job = (name: string, path: string): Promise<string> =>
  kubectl('get', 'trainingjob', name, '--namespace', team, '-o', `jsonpath={${path}}`);

const create = (...items: object[]): Promise<string> =>
  kubectlWith(JSON.stringify({ apiVersion: 'v1', kind: 'List', items }), 'create', '-f', '-');

const apply = (manifest: string): Promise<string> => kubectlWith(manifest, 'apply', '--namespace', team, '-f', '-');

const kubectl = (...args: string[]): Promise<string> => kubectlWith('', ...args);

function kubectlWith(input: string, ...args: string[]): Promise<string> {
  return capture(binaryOf('kubectl'), ['--kubeconfig', cluster.kubeconfig, ...args], { input });
}

const inRelease = (...args: string[]): Promise<string> =>
  helm(join(folder, 'helm'), ...args, '--kubeconfig', cluster.kubeconfig, '--namespace', system);
