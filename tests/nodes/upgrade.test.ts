// helm upgrade from the release before while clients ask and a job trains, what a restart takes of the new release, and helm rollback.
import { cpSync, globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { parse } from 'yaml';
import { imageName } from '../../hack/oci-image/image.ts';
import { loadImage, startNodeCluster } from '../../hack/test-cluster/cluster.ts';
import type { TestCluster } from '../../hack/test-cluster/cluster.ts';
import { capture } from '../../hack/test-cluster/command.ts';
import { binaryOf } from '../../hack/test-cluster/components.ts';
import { prepareInstallation, system, team } from '../../hack/test-cluster/installation.ts';
import { previousRelease } from '../../hack/test-cluster/previous-release.ts';
import type { Release } from '../../hack/test-cluster/previous-release.ts';
import { chart, helm } from '../cluster/helm.ts';
import { startLoad } from '../e2e/load.ts';
import type { Load } from '../e2e/load.ts';
import { tinyModels } from '../e2e/tiny-models.ts';
import { jobOfTwo, tinyService, tinyVersion } from './workloads.ts';

const root = resolve(import.meta.dirname, '../..');
const limitMs = 600_000;
const waiting = { timeout: limitMs, interval: 250 };
const [prompt, maxTokens] = ['Call me', 8];

let cluster: TestCluster;
let folder: string;
let previous: Release;
let load: Load;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'wl-upgrade-'));
  const say = (line: string) => process.stderr.write(`cluster: ${line}\n`);
  const [model] = await tinyModels(folder, [5], prompt, maxTokens);
  previous = await previousRelease(join(folder, 'previous'), say);
  cluster = await startNodeCluster({ say });
  const { values } = await prepareInstallation(cluster, folder);
  await loadImage(cluster, previous.archive);
  cpSync(model!.path, join(folder, 'models/tiny'), { recursive: true });
  await inRelease('install', 'windlass', previous.chart, '--values', values, '--set', 'image.tag=previous', ...untilReady);
  await create(tinyVersion(1, 'tiny', model!.digest), tinyService(), jobOfTwo);
  await settled(1);
  const address = await kubectl('get', 'service', 'tiny', '-n', team, '-o', 'jsonpath={.spec.clusterIP}:{.spec.ports[0].port}');
  const url = `http://${address}`;
  const texts = [...new Set([model!.text, await answerOf(url)])];
  load = startLoad({ url, model: 'tiny', prompt, maxTokens, texts, clients: 2 });
  await progress();
}, 3_600_000);

afterAll(async () => {
  await load?.stop();
  await cluster?.stop();
  rmSync(folder, { recursive: true, force: true });
});

test('helm upgrade replaces operators and CRDs, and nothing that trains or serves', { timeout: 2 * limitMs }, async () => {
  expect(await operatorImages()).toEqual([previous.image]);
  const [leader, before, answered] = [await holder(), await workloads(), load.answered];
  await inRelease('upgrade', 'windlass', chart, '--reset-then-reuse-values', '--set', 'image.tag=dev', ...untilReady);
  expect(await operatorImages()).toEqual([imageName]);
  await vi.waitFor(async () => expect(await operatorPods()).toContain(await holder()), waiting);
  expect(await holder()).not.toBe(leader);
  for (const { metadata, spec } of crdsOf(root)) {
    const live = await read<Crd>('crd', metadata.name);
    expect(live.spec).toMatchObject(asServed(spec));
    expect(live.metadata.labels).toMatchObject({ 'helm.sh/chart': chartLabel() });
  }
  await progress();
  await moreThan(answered + 20);
  expect(await workloads()).toEqual(before);
  expect(load.failures).toEqual([]);
});

test('the new operator makes pods like those that are there', { timeout: limitMs }, async () => {
  await kubectl('scale', 'isvc/tiny', '-n', team, '--replicas=2');
  await settled(2);
  expect(await imagesOf('windlass.dev/service=tiny')).toEqual([previous.image]);
  expect(load.failures).toEqual([]);
});

test(
  'a restart on request takes the image of the new release: the service without losing a request, the job from its checkpoint',
  { timeout: 2 * limitMs },
  async () => {
    const { step } = await progress();
    const request = `windlass.dev/restart-requested-at=${new Date().toISOString()}`;
    await kubectl('annotate', 'isvc/tiny', 'tj/two', '-n', team, request);
    await vi.waitFor(async () => {
      expect(await imagesOf('windlass.dev/service=tiny')).toEqual([imageName]);
      expect(await imagesOf('windlass.dev/job=two')).toEqual([imageName]);
    }, waiting);
    await settled(2);
    expect((await progress()).step).toBeGreaterThanOrEqual(step);
    const { status } = await read<Job>('tj', 'two', team);
    expect(status).toMatchObject({ attempt: 1, restarts: 0, effective: { image: imageName } });
    expect(status.lastFailure).toBeUndefined();
    expect(load.failures).toEqual([]);
  },
);

test(
  'helm rollback brings the operators of the release before back, and nothing else changes',
  { timeout: 2 * limitMs },
  async () => {
    const [before, answered] = [await workloads(), load.answered];
    await inRelease('rollback', 'windlass', ...untilReady);
    expect(await operatorImages()).toEqual([previous.image]);
    await vi.waitFor(async () => expect(await operatorPods()).toContain(await holder()), waiting);
    await progress();
    await moreThan(answered + 20);
    expect(await workloads()).toEqual(before);
    await load.stop();
    const { answered: all, streamed, failures } = load;
    process.stderr.write(`upgraded from ${previous.origin}: ${all} answered, ${streamed} of them streams\n`);
    expect(failures).toEqual([]);
    expect(streamed).toBeGreaterThan(0);
    expect(streamed).toBeLessThan(all);
  },
);

const untilReady = ['--wait', '--timeout=8m'];

interface Named {
  readonly metadata: {
    readonly name: string;
    readonly uid: string;
    readonly labels?: Record<string, string>;
    readonly deletionTimestamp?: string;
  };
}
interface Crd extends Named {
  readonly spec: object;
}
interface Job extends Named {
  readonly spec: object;
  readonly status: { readonly progress?: { readonly step: number }; readonly restarts: number; readonly lastFailure?: object };
}
interface Service extends Named {
  readonly metadata: Named['metadata'] & { readonly generation: number };
  readonly spec: object;
  readonly status: { readonly conditions: object[] };
}
interface PodList {
  readonly items: readonly (Named & {
    readonly spec: { readonly containers: readonly { readonly image: string }[] };
    readonly status: { readonly containerStatuses?: readonly { readonly restartCount: number }[] };
  })[];
}

const crdsOf = (tree: string): Crd[] =>
  globSync('crds/*.yaml', { cwd: tree }).map((file) => parse(readFileSync(join(tree, file), 'utf8')) as Crd);

/** The API server leaves out lists of no properties. */
const asServed = (spec: object): object =>
  JSON.parse(JSON.stringify(spec), (key, value: unknown) =>
    key === 'properties' && JSON.stringify(value) === '{}' ? undefined : value,
  ) as object;

function chartLabel(): string {
  const { name, version } = parse(readFileSync(join(chart, 'Chart.yaml'), 'utf8')) as { name: string; version: string };
  return `${name}-${version}`;
}

/** What must be the same afterwards: objects, their pods, and how often containers have started. */
async function workloads(): Promise<object> {
  const job = await read<Job>('tj', 'two', team);
  const service = await read<Service>('isvc', 'tiny', team);
  const { items } = await pods(team);
  return {
    job: [job.metadata.uid, job.spec, job.status.restarts, job.status.lastFailure],
    service: [service.metadata.uid, service.spec],
    pods: items
      .map(({ metadata, status }) => `${metadata.name} ${metadata.uid} ${status.containerStatuses?.[0]?.restartCount}`)
      .toSorted(),
  };
}

/** Waits until the job has made another step, and says which. */
async function progress(): Promise<{ step: number }> {
  const stepNow = async () => (await read<Job>('tj', 'two', team)).status.progress?.step ?? 0;
  const before = await stepNow();
  return await vi.waitFor(async () => {
    const step = await stepNow();
    expect(step).toBeGreaterThan(before);
    return { step };
  }, waiting);
}

const moreThan = (answered: number): Promise<void> =>
  vi.waitFor(() => expect(load.answered + load.failures.length).toBeGreaterThan(answered), waiting);

/** Waits until all pods of the service are of one revision and answer. */
async function settled(replicas: number): Promise<void> {
  await vi.waitFor(async () => {
    const { metadata, status } = await read<Service>('isvc', 'tiny', team);
    expect(status, JSON.stringify(status.conditions)).toMatchObject({
      observedGeneration: metadata.generation,
      replicas,
      readyReplicas: replicas,
      model: { state: 'Serving' },
    });
  }, waiting);
}

async function answerOf(url: string): Promise<string> {
  const body = JSON.stringify({ model: 'tiny', prompt, max_tokens: maxTokens, temperature: 0, ignore_eos: true });
  const response = await fetch(`${url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
  });
  return ((await response.json()) as { choices: { text: string }[] }).choices[0]!.text;
}

/** The pod that leads. */
async function holder(): Promise<string> {
  const path = 'jsonpath={.spec.holderIdentity}';
  return (await kubectl('get', 'lease', 'windlass-operator', '-n', system, '-o', path)).split('_')[0]!;
}

const operatorLabel = 'app.kubernetes.io/component=operator';
const operatorImages = (): Promise<string[]> => imagesOf(operatorLabel, system);
const operatorPods = async (): Promise<string[]> =>
  (await pods(system, operatorLabel)).items.map(({ metadata }) => metadata.name);

async function imagesOf(selector: string, namespace = team): Promise<string[]> {
  const { items } = await pods(namespace, selector);
  return [...new Set(items.flatMap(({ spec }) => spec.containers.map(({ image }) => image)))];
}

async function pods(namespace: string, selector = ''): Promise<PodList> {
  const found = await kubectl('get', 'pods', '-n', namespace, '-l', selector, '-o', 'json');
  const { items } = JSON.parse(found) as PodList;
  return { items: items.filter(({ metadata }) => metadata.deletionTimestamp === undefined) };
}

const read = async <T>(kind: string, name: string, namespace = 'default'): Promise<T> =>
  JSON.parse(await kubectl('get', kind, name, '-n', namespace, '-o', 'json')) as T;

const create = (...items: object[]): Promise<string> =>
  kubectlWith(JSON.stringify({ apiVersion: 'v1', kind: 'List', items }), 'create', '-f', '-');

const kubectl = (...args: string[]): Promise<string> => kubectlWith('', ...args);

function kubectlWith(input: string, ...args: string[]): Promise<string> {
  return capture(binaryOf('kubectl'), ['--kubeconfig', cluster.kubeconfig, ...args], { input });
}

const inRelease = (...args: string[]): Promise<string> =>
  helm(join(folder, 'helm'), ...args, '--kubeconfig', cluster.kubeconfig, '--namespace', system);
