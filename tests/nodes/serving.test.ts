// Services on nodes without room to spare: DrainFirst rolls where Surge can't, and an autoscaler of Kubernetes gives and takes pods by what engines tell.
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { parsePage } from '../../hack/observe/recording.ts';
import { imageName } from '../../hack/oci-image/image.ts';
import { startNodeCluster } from '../../hack/test-cluster/cluster.ts';
import type { TestCluster } from '../../hack/test-cluster/cluster.ts';
import { capture } from '../../hack/test-cluster/command.ts';
import { binaryOf } from '../../hack/test-cluster/components.ts';
import { prepareInstallation, team } from '../../hack/test-cluster/installation.ts';
import { startOperator } from '../cluster/operator-process.ts';
import type { OperatorProcess } from '../cluster/operator-process.ts';
import { startLoad } from '../e2e/load.ts';
import type { Load } from '../e2e/load.ts';
import { tinyModels } from '../e2e/tiny-models.ts';
import type { TinyModel } from '../e2e/tiny-models.ts';
import { serveMetric } from './metrics-provider.ts';
import { tinyService, tinyVersion } from './workloads.ts';

const limitMs = 600_000;
const waiting = { timeout: limitMs, interval: 250 };
const [prompt, maxTokens] = ['Call me', 8];
/** One of them fits on a node, whatever its size; two do not. */
const mostOfANode = { cpu: `${600 * availableParallelism()}m` };

let stack: AsyncDisposableStack;
let cluster: TestCluster;
let folder: string;
let models: TinyModel[];
let operator: OperatorProcess;

beforeAll(async () => {
  stack = new AsyncDisposableStack();
  folder = mkdtempSync(join(tmpdir(), 'wl-serving-'));
  stack.defer(() => rmSync(folder, { recursive: true, force: true }));
  models = await tinyModels(folder, [5, 6], prompt, maxTokens);
  const say = (line: string) => process.stderr.write(`cluster: ${line}\n`);
  // An autoscaler looks each 15 s, if not told otherwise.
  const controllerManagerArgs = ['--horizontal-pod-autoscaler-sync-period=2s'];
  cluster = stack.use(await startNodeCluster({ nodes: 2, say, controllerManagerArgs }));
  await prepareInstallation(cluster, folder);
  for (const [index, { path }] of models.entries()) cpSync(path, join(folder, 'models', String(index)), { recursive: true });
  await kubectl('apply', '--server-side', '-f', resolve(import.meta.dirname, '../../crds'));
  operator = stack.use(startOperator(team, { kubeconfig: cluster.kubeconfig, args: ['--image', imageName] }));
  await create(tinyVersion(1, '0', models[0]!.digest));
}, 3_600_000);

afterAll(() => stack.disposeAsync());

test(
  'where no second pod fits Surge waits and says what helps; DrainFirst replaces one pod after the other, and no request fails',
  { timeout: 2 * limitMs },
  async () => {
    await create(tinyService({ replicas: 2 }, mostOfANode));
    await settled(2, 'tiny-1');
    await using load = await loadOf(4);
    await create(tinyVersion(2, '1', models[1]!.digest));
    await vi.waitFor(async () => {
      const ready = (await service()).status.conditions.find(({ type }) => type === 'Ready');
      expect(ready).toMatchObject({
        status: 'True',
        reason: 'Unschedulable',
        message: expect.stringMatching(/DrainFirst/) as string,
      });
    }, waiting);
    expect(load.counts.has(models[1]!.text)).toBe(false);
    await patch({ rollout: { strategy: 'DrainFirst' } });
    await settled(2, 'tiny-2');
    const answered = load.answered + load.failures.length;
    await vi.waitFor(() => expect(load.answered + load.failures.length).toBeGreaterThan(answered + 20), waiting);
    await load.stop();
    expect(load.failures).toEqual([]);
    expect([...load.counts.keys()].toSorted()).toEqual(models.map(({ text }) => text).toSorted());
  },
);

test(
  'an HorizontalPodAutoscaler adds pods while requests wait at the engines and takes them away afterwards, by the scale subresource',
  { timeout: 2 * limitMs },
  async () => {
    await kubectl('delete', 'isvc', 'tiny', '-n', team);
    await create(tinyService());
    await settled(1, 'tiny-2');
    const address = new URL(cluster.url).hostname;
    await using provider = await serveMetric('windlass_requests', requestsNow, {
      address,
      folder: join(folder, 'pki'),
      namespace: team,
    });
    await create(...provider.objects, {
      apiVersion: 'autoscaling/v2',
      kind: 'HorizontalPodAutoscaler',
      metadata: { name: 'tiny', namespace: team },
      spec: {
        scaleTargetRef: { apiVersion: 'windlass.dev/v1alpha1', kind: 'InferenceService', name: 'tiny' },
        minReplicas: 1,
        maxReplicas: 3,
        metrics: [
          {
            type: 'External',
            external: { metric: { name: 'windlass_requests' }, target: { type: 'AverageValue', averageValue: '1' } },
          },
        ],
        behavior: { scaleDown: { stabilizationWindowSeconds: 0 } },
      },
    });
    await using one = await loadOf(1);
    await using many = await loadOf(8);
    await vi.waitFor(async () => expect((await service()).status.readyReplicas).toBeGreaterThan(1), waiting);
    await many.stop();
    await settled(1, 'tiny-2');
    await one.stop();
    expect([...one.failures, ...many.failures]).toEqual([]);
    const hpa = JSON.parse(await kubectl('get', 'hpa', 'tiny', '-n', team, '-o', 'json')) as Autoscaler;
    expect(hpa.status.conditions).toEqual(
      expect.arrayContaining([expect.objectContaining({ type: 'AbleToScale', status: 'True' })]),
    );
    expect(operator.lines.filter(({ level }) => level === 'error')).toEqual([]);
  },
);

interface Autoscaler {
  readonly status: { readonly conditions: readonly { readonly type: string; readonly status: string }[] };
}
interface Service {
  readonly metadata: { readonly generation: number };
  readonly status: {
    readonly conditions: readonly {
      readonly type: string;
      readonly status: string;
      readonly reason: string;
      readonly message: string;
    }[];
    readonly readyReplicas: number;
  };
}

/** Requests that the engines of the service run and hold, as their own metrics say. */
async function requestsNow(): Promise<number> {
  const found = await kubectl('get', 'pods', '-n', team, '-l', 'windlass.dev/service=tiny', '-o', 'json');
  const { items } = JSON.parse(found) as {
    items: { status: { podIP?: string; conditions?: { type: string; status: string }[] } }[];
  };
  const ready = items.filter(({ status }) =>
    status.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True'),
  );
  const pages = await Promise.all(
    ready.map(async ({ status }) => await (await fetch(`http://${status.podIP}:8080/metrics`)).text()),
  );
  const waits = new Set(['vllm:num_requests_running', 'vllm:num_requests_waiting']);
  return pages
    .flatMap(parsePage)
    .filter(({ name }) => waits.has(name))
    .reduce((sum, { value }) => sum + value, 0);
}

async function loadOf(clients: number): Promise<Load & AsyncDisposable> {
  const load = startLoad({
    url: await urlOf(),
    model: 'tiny',
    prompt,
    maxTokens,
    texts: models.map(({ text }) => text),
    clients,
  });
  return Object.assign(load, { [Symbol.asyncDispose]: () => load.stop() });
}

async function urlOf(): Promise<string> {
  return `http://${await kubectl('get', 'service', 'tiny', '-n', team, '-o', 'jsonpath={.spec.clusterIP}:{.spec.ports[0].port}')}`;
}

const service = async (): Promise<Service> =>
  JSON.parse(await kubectl('get', 'isvc', 'tiny', '-n', team, '-o', 'json')) as Service;

/** Waits until the service has seen its spec, and all of its pods are of one revision and answer. */
async function settled(replicas: number, active: string): Promise<void> {
  await vi.waitFor(async () => {
    const { metadata, status } = await service();
    expect(status, JSON.stringify(status.conditions)).toMatchObject({
      observedGeneration: metadata.generation,
      replicas,
      readyReplicas: replicas,
      model: { state: 'Serving', active },
    });
  }, waiting);
}

const patch = (spec: object): Promise<string> =>
  kubectl('patch', 'isvc', 'tiny', '-n', team, '--type=merge', '-p', JSON.stringify({ spec }));

const create = (...items: object[]): Promise<string> =>
  kubectlWith(JSON.stringify({ apiVersion: 'v1', kind: 'List', items }), 'create', '-f', '-');

const kubectl = (...args: string[]): Promise<string> => kubectlWith('', ...args);

function kubectlWith(input: string, ...args: string[]): Promise<string> {
  return capture(binaryOf('kubectl'), ['--kubeconfig', cluster.kubeconfig, ...args], { input });
}
