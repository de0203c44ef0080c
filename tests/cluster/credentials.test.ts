// Credentials of pods on a real API server: tokens that it made and reviews, the operator as a process, policies that it takes.
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, inject, it, vi } from 'vitest';
import { InferenceService, TrainingJob } from '#crds/v1alpha1/index.ts';
import type { KubeObject, ResourceType } from '#crds/resource.ts';
import { authoritySecret, busSecret } from '#operator/controllers/access.ts';
import { inferenceService, trainingJob } from '#operator/controllers/fixtures.ts';
import { NetworkPolicy, Pod, Secret } from '#operator/kube/core.ts';
import type { HttpKube } from '#operator/kube/http-kube.ts';
import { requestIdentity } from '#runtime/agent/identity/request.ts';
import { build } from '../../hack/test-cluster/build.ts';
import { capture } from '../../hack/test-cluster/command.ts';
import { binaryOf } from '../../hack/test-cluster/components.ts';
import { connect, newNamespace } from './kube.ts';
import { startOperator } from './operator-process.ts';
import type { OperatorProcess } from './operator-process.ts';

const patience = { timeout: 60_000, interval: 50 };
const ServiceAccount: ResourceType = {
  group: '',
  version: 'v1',
  kind: 'ServiceAccount',
  plural: 'serviceaccounts',
  namespaced: true,
};

let stack: AsyncDisposableStack;
let client: HttpKube;
let namespace: string;
let folder: string;

beforeEach(async () => {
  await build(['kubectl'], (line) => process.stderr.write(`cluster: ${line}\n`));
  stack = new AsyncDisposableStack();
  folder = mkdtempSync(join(tmpdir(), 'wl-credentials-'));
  stack.defer(() => rmSync(folder, { recursive: true }));
  const connected = await connect();
  stack.defer(() => connected.transport.close());
  ({ client } = connected);
  namespace = await newNamespace(client);
  await client.create(ServiceAccount, inNamespace({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'default' } }));
});
afterEach(() => stack.disposeAsync());

const inNamespace = <T extends KubeObject>(object: T): T => ({ ...object, metadata: { ...object.metadata, namespace } });

function operator(): OperatorProcess {
  const flags = ['--credentials-url', 'https://localhost:8443', '--credentials-address', '127.0.0.1:0', '--network-policies'];
  return stack.use(startOperator(namespace, { args: flags }));
}

/** A token of the account of pods here, bound to a pod. */
async function tokenOf({ metadata }: Pod, audience = 'windlass'): Promise<string> {
  const bound = ['--bound-object-kind', 'Pod', '--bound-object-name', metadata.name, '--bound-object-uid', metadata.uid ?? ''];
  const asked = ['create', 'token', 'default', '--namespace', namespace, '--audience', audience, ...bound];
  const token = await capture(binaryOf('kubectl'), ['--kubeconfig', inject('cluster').kubeconfig, ...asked]);
  const file = join(folder, `${metadata.name}-${audience}`);
  writeFileSync(file, token);
  return file;
}

async function authority(): Promise<string> {
  const { data } = await client.get(Secret, { namespace, name: authoritySecret });
  return Buffer.from(data!['ca.crt']!, 'base64').toString();
}

it('a pod gets credentials for a token of the API server that is bound to it, and for no other', async () => {
  const running = operator();
  await client.create(TrainingJob, inNamespace(trainingJob('moby')));
  const pod = await vi.waitFor(() => client.get(Pod, { namespace, name: 'moby-worker-0' }), patience);
  const { port } = await running.said('credentials can be asked');
  const source = { url: `https://localhost:${port}`, ca: await authority() };
  const ask = async (tokenFile: string) => await requestIdentity({ ...source, tokenFile }, AbortSignal.timeout(60_000));

  const tokenFile = await tokenOf(pod);
  const identity = await vi.waitFor(() => ask(tokenFile), patience);
  expect(identity.secret.length).toBeGreaterThan(16);
  expect(JSON.stringify(pod.spec)).not.toContain(identity.secret);
  expect(pod.spec.containers[0]!.env?.find(({ name }) => name === 'WL_CREDENTIALS_CA')?.value).toBe(source.ca);
  await expect(ask(await tokenOf(pod, 'vault'))).rejects.toThrow(/401: the token is not for the audience windlass/);

  const web = await client.create(Pod, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web', namespace },
    spec: pod.spec,
  });
  await expect(ask(await tokenOf(web))).rejects.toThrow(/403: .*no pod of this name|403: .*not of a TrainingJob/);
  const [head, body, signature] = readFileSync(tokenFile, 'utf8').split('.');
  writeFileSync(tokenFile, `${head}.${body}.${signature!.toUpperCase()}`);
  await expect(ask(tokenFile)).rejects.toThrow(/401: the API server does not take the token/);

  await client.patch(TrainingJob, { namespace, name: 'moby' }, { metadata: { annotations: { 'windlass.dev/paused': 'true' } } });
  const last = await tokenOf(pod);
  await client.delete(Pod, { namespace, name: 'moby-worker-0' }, { gracePeriodSeconds: 0 });
  // Until the operator has seen that the pod is gone, it gives.
  let given = 1;
  const answer = () => ask(last).then(() => `given ${(given += 1)} times`, String);
  await vi.waitFor(async () => expect(await answer()).toMatch(/403: .*no pod of this name/), patience);
  const lines = (await running.page('metrics', '/metrics')).body.split('\n');
  expect(lines.filter((line) => line.startsWith('rest_client_requests_total{code="403"'))).toEqual([]);
  const told = (series: string) => Number(lines.find((line) => line.startsWith(`windlass_${series} `))?.split(' ')[1]);
  expect(told('credentials_requests_total{code="200"}')).toBe(given);
  const expiry = (certificate: string) => told(`certificate_expiry_timestamp_seconds{certificate="${certificate}"}`);
  expect(expiry('authority')).toBe(new X509Certificate(source.ca).validToDate.getTime() / 1000);
  const left = expiry('credentials') - Date.now() / 1000;
  expect(left).toBeGreaterThan(23 * 3600);
  expect(told('certificate_renewal_timestamp_seconds{certificate="credentials"}')).toBeLessThan(expiry('credentials'));
});

it('another operator goes on with the authority of the first, and leaves the Secret of the bus alone where that is not its own', async () => {
  await operator().said('credentials can be asked');
  const first = await authority();
  const second = operator();
  await second.said('credentials can be asked');
  expect(await authority()).toBe(first);
  await expect(client.get(Secret, { namespace, name: busSecret })).rejects.toMatchObject({ reason: 'NotFound' });
});

it('the API server takes the policies of jobs and services as they are, so that nothing is written twice', async () => {
  const running = operator();
  await running.said('controllers run');
  await client.create(TrainingJob, inNamespace(trainingJob('moby')));
  await client.create(InferenceService, inNamespace(inferenceService('moby')));
  const policies = async () => (await client.list(NetworkPolicy, { namespace })).items;
  await vi.waitFor(async () => expect(await policies()).toHaveLength(2), patience);
  const before = await policies();
  await client.patch(TrainingJob, { namespace, name: 'moby' }, { metadata: { annotations: { seen: 'again' } } });
  await client.create(TrainingJob, inNamespace(trainingJob('other')));
  await vi.waitFor(async () => expect(await policies()).toHaveLength(3), patience);
  const after = await policies();
  for (const { metadata } of before)
    expect(after.find(({ metadata: { name } }) => name === metadata.name)?.metadata.resourceVersion).toBe(
      metadata.resourceVersion,
    );
  expect(after.map(({ metadata }) => `${metadata.ownerReferences?.[0]?.kind}`).toSorted()).toEqual([
    'InferenceService',
    'TrainingJob',
    'TrainingJob',
  ]);
});
