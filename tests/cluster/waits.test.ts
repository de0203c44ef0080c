// Those who wait for our objects are told the truth: `kubectl wait` and `helm install --wait`, on a real API server with the real operator.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { stringify } from 'yaml';
import type { KubeObject } from '#crds/resource.ts';
import { resources } from '#crds/v1alpha1/index.ts';
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

/** Longer than any machine takes. */
const patience = '240s';
const timeout = 300_000;

/** A namespace with an operator in it, and a kubelet if pods shall have a fate. */
async function setUp({ operator = true, fate }: { operator?: boolean; fate?: Fate } = {}) {
  const { client, transport } = await connect();
  const namespace = await newNamespace(client);
  const stack = new AsyncDisposableStack();
  stack.defer(() => transport.close());
  const startKubelet = async (fate: Fate) => stack.use(await startStubKubelet(namespace, fate));
  if (fate) await startKubelet(fate);
  if (operator) stack.use(startOperator(namespace));
  const waits = (what: string, condition: string, limit = patience) =>
    kubectl('wait', what, '--namespace', namespace, `--for=condition=${condition}`, `--timeout=${limit}`);
  const lacks = (what: string, condition: string) => expect(waits(what, condition, atOnce)).rejects.toThrow('condition not met');
  const apply = (object: KubeObject) => kubectlWith(JSON.stringify(object), 'apply', '--namespace', namespace, '-f', '-');
  const edit = (spec: object) =>
    kubectl('patch', 'trainingjob', 'moby', '--namespace', namespace, '--type=merge', '-p', JSON.stringify({ spec }));
  return { client, namespace, waits, lacks, apply, edit, startKubelet, [Symbol.asyncDispose]: () => stack.disposeAsync() };
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

const tj = 'trainingjob/moby';
const isvc = 'inferenceservice/moby';

describe('kubectl wait', { timeout }, () => {
  it('ends for Ready when all ranks run, for Complete when the model is published, and not before', async () => {
    let ends = false;
    await using test = await setUp();
    const kubelet = await test.startKubelet(() => (ends ? { exitCode: 0, words: lastWords() } : undefined));
    await test.apply(job());
    await test.waits(tj, 'Ready');
    await test.lacks(tj, 'Complete');
    ends = true;
    kubelet.nudge();
    await test.waits(tj, 'Complete');
    await test.waits(tj, 'Ready', atOnce);
    await test.lacks(tj, 'Failed');
    // An edit of a job that has ended is seen, and its end holds for the new generation too.
    await test.edit({ suspend: true });
    await test.waits(tj, 'Complete');
    await test.lacks(tj, 'Suspended');
  });

  it('ends for Suspended when a job is stopped, and for Ready when it goes on', async () => {
    await using test = await setUp({ fate: runsOn });
    await test.apply(job());
    await test.waits(tj, 'Ready');
    await test.edit({ suspend: true });
    await test.waits(tj, 'Suspended');
    await test.lacks(tj, 'Ready');
    await test.edit({ suspend: false });
    await test.waits(tj, 'Ready');
    await test.lacks(tj, 'Suspended');
  });
});

describe('helm install --wait', { timeout }, () => {
  /** What Helm says of a chart of these objects. */
  function team(namespace: string, objects: readonly KubeObject[], ...args: string[]): Promise<string> {
    const folder = join(home, namespace);
    mkdirSync(join(folder, 'templates'), { recursive: true });
    writeFileSync(join(folder, 'Chart.yaml'), stringify({ apiVersion: 'v2', name: 'team', version: '1.0.0' }));
    writeFileSync(join(folder, 'templates/objects.yaml'), objects.map((object) => stringify(object)).join('---\n'));
    const where = ['--kubeconfig', inject('cluster').kubeconfig, '--namespace', namespace];
    return helm(home, 'upgrade', '--install', 'team', folder, ...where, ...args);
  }

  it('does not take an object that nobody has seen for done', async () => {
    await using test = await setUp({ operator: false });
    const said = team(test.namespace, [job()], '--wait', '--timeout=3s');
    await expect(said).rejects.toThrow('moby not ready. status: InProgress');
  });

  it('does not end while there are no pods, and ends when all ranks of the job run and the service answers', async () => {
    await using test = await setUp();
    const objects = [job(), service()];
    await expect(team(test.namespace, objects, '--wait', '--timeout=5s')).rejects.toThrow('moby not ready. status: InProgress');
    await test.lacks(isvc, 'Ready');
    await test.startKubelet(runsOn);
    await team(test.namespace, objects, '--wait', `--timeout=${patience}`);
    await test.waits(isvc, 'Ready', atOnce);
    await test.waits(tj, 'Ready', atOnce);
  });

  it('fails for a job that failed, as kubectl wait tells', async () => {
    await using test = await setUp({ fate: () => ({ exitCode: 64, words: { code: 'WL_DATA_EMPTY', message: 'no text' } }) });
    await team(test.namespace, [job()], '--wait=hookOnly');
    await test.waits(tj, 'Failed');
    await test.lacks(tj, 'Ready');
    const said = team(test.namespace, [job()], '--wait', '--timeout=5s');
    await expect(said).rejects.toThrow('moby not ready. status: Failed');
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
