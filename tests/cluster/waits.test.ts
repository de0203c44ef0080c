// Those who wait for our objects are told the truth: `kubectl wait` and `helm install --wait`, on a real API server with the real operator.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { stringify } from 'yaml';
import type { KubeObject } from '#crds/resource.ts';
import { InferenceService, TrainingJob, resources } from '#crds/v1alpha1/index.ts';
import { inferenceService, lastWords, trainingJob } from '#operator/controllers/fixtures.ts';
import { build } from '../../hack/test-cluster/build.ts';
import { capture } from '../../hack/test-cluster/command.ts';
import { binaryOf } from '../../hack/test-cluster/components.ts';
import { chart, helm } from './helm.ts';
import { connect, newNamespace } from './kube.ts';
import { startOperator } from './operator-process.ts';
import { startStubKubelet } from './stub-kubelet.ts';
import type { Fate } from './stub-kubelet.ts';

const runsOn: Fate = () => undefined;
let home: string;

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), 'wl-waits-'));
  await build(['helm', 'kubectl'], (line) => process.stderr.write(`waits: ${line}\n`));
}, 1_800_000);

afterAll(() => rmSync(home, { recursive: true, force: true }));

const kubectlWith = (input: string, ...args: string[]): Promise<string> =>
  capture(binaryOf('kubectl'), ['--kubeconfig', inject('cluster').kubeconfig, ...args], { input });
const kubectl = (...args: string[]): Promise<string> => kubectlWith('', ...args);

/** A namespace with nobody in it but who is asked for. */
async function setUp({ operator = true, fate }: { operator?: boolean; fate?: Fate } = {}) {
  const { client, transport } = await connect();
  const namespace = await newNamespace(client);
  const stack = new AsyncDisposableStack();
  stack.defer(() => transport.close());
  if (fate) stack.use(await startStubKubelet(namespace, fate));
  if (operator) stack.use(startOperator(namespace));
  const waits = (what: string, condition: string, timeout = '90s') =>
    kubectl('wait', what, '--namespace', namespace, `--for=condition=${condition}`, `--timeout=${timeout}`);
  const apply = (object: KubeObject) => kubectlWith(JSON.stringify(object), 'apply', '--namespace', namespace, '-f', '-');
  return { client, namespace, waits, apply, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

/** Looks once. */
const atOnce = '0s';
const bare = ({ apiVersion, kind, metadata: { name }, ...rest }: KubeObject): KubeObject => ({
  ...rest,
  apiVersion,
  kind,
  metadata: { name },
});
const job = (spec: object = {}): KubeObject => bare(trainingJob('moby', spec));
const service = (): KubeObject => bare(inferenceService('moby', {}, { uri: '/models/moby' }));

describe('the API server', () => {
  it('shows an object that no operator has seen as one whose generation is not observed', async () => {
    await using test = await setUp({ operator: false });
    const { namespace } = test;
    for (const { definition, kind, apiVersion, plural } of resources.filter(({ definition }) => definition.status)) {
      const { metadata, ...rest } = definition.example as { metadata: object };
      await test.apply({ apiVersion, kind, metadata: { ...metadata, name: 'new' }, ...rest });
      const at = [
        'get',
        plural,
        'new',
        '--namespace',
        namespace,
        '-o',
        'jsonpath={.metadata.generation} {.status.observedGeneration}',
      ];
      expect(await kubectl(...at), kind).toBe('1 0');
    }
  });
});

describe('kubectl wait', () => {
  it('ends for Ready when all ranks run, for Complete when the model is published, and not before', async () => {
    let ends = false;
    const fate: Fate = () => (ends ? { exitCode: 0, words: lastWords() } : undefined);
    const { client, transport } = await connect();
    const namespace = await newNamespace(client);
    await using kubelet = await startStubKubelet(namespace, fate);
    await using _operator = startOperator(namespace);
    const waits = (condition: string, timeout: string) =>
      kubectl('wait', 'trainingjob/moby', '--namespace', namespace, `--for=condition=${condition}`, `--timeout=${timeout}`);
    await kubectlWith(JSON.stringify(job()), 'apply', '--namespace', namespace, '-f', '-');
    await waits('Ready', '90s');
    await expect(waits('Complete', atOnce)).rejects.toThrow('timed out');
    ends = true;
    kubelet.nudge();
    await waits('Complete', '90s');
    await waits('Ready', atOnce);
    await expect(waits('Failed', atOnce)).rejects.toThrow('timed out');
    // An edit of a job that has ended is seen, and its end holds for the new generation too.
    await kubectl('patch', 'trainingjob', 'moby', '--namespace', namespace, '--type=merge', '-p', '{"spec":{"suspend":true}}');
    await waits('Complete', '90s');
    await expect(waits('Suspended', atOnce)).rejects.toThrow('timed out');
    transport.close();
  });

  it('ends for Failed when a job can not go on', async () => {
    await using test = await setUp({ fate: () => ({ exitCode: 64, words: { code: 'WL_DATA_EMPTY', message: 'no text' } }) });
    await test.apply(job());
    await test.waits('trainingjob/moby', 'Failed');
    await expect(test.waits('trainingjob/moby', 'Ready', atOnce)).rejects.toThrow('timed out');
  });

  it('ends for Suspended when a job is stopped, and for Ready when it goes on', async () => {
    await using test = await setUp({ fate: runsOn });
    const { namespace } = test;
    await test.apply(job());
    await test.waits('trainingjob/moby', 'Ready');
    const suspend = (value: boolean) =>
      kubectl(
        'patch',
        'trainingjob',
        'moby',
        '--namespace',
        namespace,
        '--type=merge',
        '-p',
        JSON.stringify({ spec: { suspend: value } }),
      );
    await suspend(true);
    await test.waits('trainingjob/moby', 'Suspended');
    await expect(test.waits('trainingjob/moby', 'Ready', atOnce)).rejects.toThrow('timed out');
    await suspend(false);
    await test.waits('trainingjob/moby', 'Ready');
    await expect(test.waits('trainingjob/moby', 'Suspended', atOnce)).rejects.toThrow('timed out');
  });
});

describe('helm install --wait', () => {
  /** A chart of one object, installed into the namespace. */
  function install(namespace: string, object: KubeObject, timeout: string): Promise<string> {
    const folder = join(home, namespace);
    mkdirSync(join(folder, 'templates'), { recursive: true });
    writeFileSync(join(folder, 'Chart.yaml'), stringify({ apiVersion: 'v2', name: 'team', version: '1.0.0' }));
    writeFileSync(join(folder, 'templates/object.yaml'), stringify(object));
    const where = ['--kubeconfig', inject('cluster').kubeconfig, '--namespace', namespace];
    return helm(home, 'install', 'team', folder, ...where, '--wait', `--timeout=${timeout}`);
  }

  it('does not take an object that nobody has seen for done', async () => {
    await using test = await setUp({ operator: false });
    await expect(install(test.namespace, job(), '3s')).rejects.toThrow(/InProgress|not ready|deadline/);
  });

  it('does not end while the pods of a service are not there', async () => {
    await using test = await setUp();
    await expect(install(test.namespace, service(), '5s')).rejects.toThrow(/InProgress|not ready|deadline/);
    await expect(test.waits('inferenceservice/moby', 'Ready', atOnce)).rejects.toThrow('timed out');
  });

  it('ends when a service answers', async () => {
    await using test = await setUp({ fate: runsOn });
    await install(test.namespace, service(), '90s');
    await test.waits('inferenceservice/moby', 'Ready', atOnce);
    const { status } = await test.client.get(InferenceService, { namespace: test.namespace, name: 'moby' });
    expect(status?.readyReplicas).toBe(1);
  });

  it('ends when all ranks of a job run', async () => {
    await using test = await setUp({ fate: runsOn });
    await install(test.namespace, job(), '90s');
    const { status } = await test.client.get(TrainingJob, { namespace: test.namespace, name: 'moby' });
    expect(status?.state).toBe('Running');
  });

  it('fails for a job that failed, and says so', async () => {
    await using test = await setUp({ fate: () => ({ exitCode: 64 }) });
    await expect(install(test.namespace, job(), '20s')).rejects.toThrow(/Failed/);
    await test.waits('trainingjob/moby', 'Failed', atOnce);
  });
});

describe('Argo CD', () => {
  it('gets the health checks by one patch of its ConfigMap, beside what is there', async () => {
    await using test = await setUp({ operator: false });
    const { namespace } = test;
    await kubectl('create', 'configmap', 'argocd-cm', '--namespace', namespace, '--from-literal=url=https://argo');
    const file = join(chart, 'files/argocd/argocd-cm.yaml');
    await kubectl('patch', 'configmap', 'argocd-cm', '--namespace', namespace, '--type=merge', '--patch-file', file);
    const { data } = JSON.parse(await kubectl('get', 'configmap', 'argocd-cm', '--namespace', namespace, '-o', 'json')) as {
      data: Record<string, string>;
    };
    expect(Object.keys(data).toSorted()).toEqual([
      ...['InferenceService', 'Model', 'ModelVersion', 'TrainingJob'].map(
        (kind) => `resource.customizations.health.windlass.dev_${kind}`,
      ),
      'url',
    ]);
  });
});
