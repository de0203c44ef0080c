// The operator with the rights that the chart gives it, on an API server that enforces them.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, inject, it, vi } from 'vitest';
import { parse } from 'yaml';
import { InferenceService, TrainingJob } from '#crds/v1alpha1/index.ts';
import { inferenceService, lastWords, trainingJob } from '#operator/controllers/fixtures.ts';
import type { KubeObject } from '#crds/resource.ts';
import { build } from '../../hack/test-cluster/build.ts';
import { capture } from '../../hack/test-cluster/command.ts';
import { binaryOf } from '../../hack/test-cluster/components.ts';
import { template } from './helm.ts';
import { connect, newNamespace } from './kube.ts';
import { startOperator } from './operator-process.ts';
import { startStubKubelet } from './stub-kubelet.ts';

let home: string;

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), 'wl-rights-'));
  await build(['helm', 'kubectl'], (line) => process.stderr.write(`cluster: ${line}\n`));
}, 1_800_000);

afterAll(() => rmSync(home, { recursive: true, force: true }));

it('in one namespace it trains, publishes and serves without ever being refused, and can do nothing else', async () => {
  const { client, transport } = await connect();
  await using stack = new AsyncDisposableStack();
  stack.defer(() => transport.close());
  const namespace = await newNamespace(client);
  const account = `system:serviceaccount:${namespace}:${namespace}`;
  const values = [`fullnameOverride=${namespace}`, `watchNamespaces={${namespace}}`, 'crds.enabled=false'];
  const file = join(home, 'rights.yaml');
  writeFileSync(
    file,
    await template(home, '--namespace', namespace, '--no-hooks', ...values.flatMap((value) => ['--set', value])),
  );
  await kubectl('apply', '-f', file);
  stack.defer(async () => void (await kubectl('delete', '-f', file, '--wait=false')));
  const kubeconfig = await kubeconfigOf(namespace);

  const isWorker = (pod: KubeObject) => pod.metadata.name.startsWith('moby-worker-');
  const kubelet = await startStubKubelet(namespace, (pod) => (isWorker(pod) ? { exitCode: 0, words: lastWords() } : undefined));
  stack.use(kubelet);
  const trust = ['--credentials-url', 'https://localhost:8443', '--credentials-address', '127.0.0.1:0', '--network-policies'];
  const operator = stack.use(startOperator(namespace, { kubeconfig, args: trust }));
  const inNamespace = <T extends KubeObject>(object: T): T => ({ ...object, metadata: { ...object.metadata, namespace } });
  await client.create(InferenceService, inNamespace(inferenceService('moby')));
  await client.create(TrainingJob, inNamespace(trainingJob('moby', { ttlSecondsAfterFinished: 1 })));
  await vi.waitFor(
    async () => {
      const { status } = await client.get(InferenceService, { namespace, name: 'moby' });
      expect({ lines: operator.lines.slice(-2), ready: status?.readyReplicas }).toMatchObject({ ready: 1 });
      expect((await client.list(TrainingJob, { namespace })).items).toEqual([]);
    },
    { timeout: 90_000, interval: 50 },
  );
  await operator.said('credentials can be asked');
  const { body } = await operator.page('metrics', '/metrics');
  expect(body.split('\n').filter((line) => line.includes('code="403"'))).toEqual([]);
  expect(body).toMatch(/rest_client_requests_total\{code="201",method="POST"/);

  const mayDo = async (...question: string[]): Promise<string> => {
    const asked = ['auth', 'can-i', ...question, '--as', account];
    return await kubectl(...asked).then(
      (answer) => answer.trim(),
      (error: Error) => (/ended with 1: no/.test(error.message) ? 'no' : error.message),
    );
  };
  for (const question of [
    ['create', 'pods', '--namespace', namespace],
    ['get', 'secrets/windlass-ca', '--namespace', namespace],
    ['create', 'tokenreviews.authentication.k8s.io'],
  ])
    expect({ question, answer: await mayDo(...question) }).toEqual({ question, answer: 'yes' });
  for (const question of [
    ['create', 'pods', '--namespace', 'default'],
    ['list', 'trainingjobs.windlass.dev', '--all-namespaces'],
    ['get', 'secrets/theirs', '--namespace', namespace],
    ['get', 'secrets/windlass-ca', '--namespace', 'default'],
    ['list', 'secrets', '--namespace', namespace],
    ['delete', 'secrets/windlass-ca', '--namespace', namespace],
    ['create', 'pods', '--subresource=exec', '--namespace', namespace],
    ['create', 'rolebindings.rbac.authorization.k8s.io', '--namespace', namespace],
    ['delete', 'leases.coordination.k8s.io', '--namespace', namespace],
    ['update', 'trainingjobs.windlass.dev', '--namespace', namespace],
  ])
    expect({ question, answer: await mayDo(...question) }).toEqual({ question, answer: 'no' });
});

/** A kubeconfig with a token of the operator's own account, and nothing of the administrator's. */
async function kubeconfigOf(namespace: string): Promise<string> {
  const token = (await kubectl('create', 'token', namespace, '--namespace', namespace)).trim();
  const config = parse(readFileSync(inject('cluster').kubeconfig, 'utf8')) as { users: { name: string; user: object }[] };
  const users = config.users.map(({ name }) => ({ name, user: { token } }));
  const path = join(home, 'kubeconfig.json');
  writeFileSync(path, JSON.stringify({ ...config, users }), { mode: 0o600 });
  return path;
}

function kubectl(...args: string[]): Promise<string> {
  return capture(binaryOf('kubectl'), ['--kubeconfig', inject('cluster').kubeconfig, ...args]);
}
