// No request fails and none is cut, whole or streamed, while pods are replaced ten times, a service grows and shrinks, and nodes are drained.
import { cpSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { imageName, windlassImage } from '../../hack/oci-image/image.ts';
import { loadImage, startNodeCluster } from '../../hack/test-cluster/cluster.ts';
import type { TestCluster } from '../../hack/test-cluster/cluster.ts';
import { capture } from '../../hack/test-cluster/command.ts';
import { binaryOf } from '../../hack/test-cluster/components.ts';
import { startOperator } from '../cluster/operator-process.ts';
import type { OperatorProcess } from '../cluster/operator-process.ts';
import { startLoad } from '../e2e/load.ts';
import { tinyModels } from '../e2e/tiny-models.ts';
import type { TinyModel } from '../e2e/tiny-models.ts';
import { namespace, sharedClaim } from '../../hack/test-cluster/team.ts';

/** Requests that are asked at least; `WL_REQUESTS=10000` for the figure that is published. */
const requests = Number(process.env['WL_REQUESTS'] ?? 2000);
const team = 'serving';
const prompt = 'Call me';
const maxTokens = 8;
const limitMs = 900_000;
const waiting = { timeout: limitMs, interval: 250 };

/** A pod without a request gets next to nothing of a machine that is busy: new ones would not start beside old ones under load. */
const podTemplate = { resources: { requests: { cpu: '200m' } } };

let cluster: TestCluster;
let folder: string;
let models: TinyModel[];
let operator: OperatorProcess;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'wl-rollouts-'));
  models = await tinyModels(folder, [5, 6], prompt, maxTokens);
  cluster = await startNodeCluster({ nodes: 2, say: (line) => process.stderr.write(`cluster: ${line}\n`) });
  const archive = join(folder, 'image.tar');
  writeFileSync(archive, windlassImage().archive);
  await loadImage(cluster, archive);
  const claim = join(folder, 'models');
  for (const [index, { path }] of models.entries()) cpSync(path, join(claim, String(index)), { recursive: true });
  await kubectl('apply', '--server-side', '-f', resolve(import.meta.dirname, '../../crds'));
  await create(
    namespace(team),
    ...sharedClaim(team, 'windlass-models', claim),
    ...sharedClaim(team, 'windlass-cache', join(folder, 'cache')),
    {
      apiVersion: 'windlass.dev/v1alpha1',
      kind: 'TrainingRuntime',
      metadata: { name: 'cached', namespace: team },
      spec: { storage: { cacheClaim: 'windlass-cache' } },
    },
  );
  operator = startOperator(team, { kubeconfig: cluster.kubeconfig, args: ['--image', imageName] });
}, 3_600_000);

afterAll(async () => {
  await operator?.[Symbol.asyncDispose]();
  await cluster?.stop();
  rmSync(folder, { recursive: true, force: true });
});

test(
  `all of ${requests} requests are answered whole through ten rollouts, scaling and drains`,
  { timeout: 2 * limitMs },
  async () => {
    expect(models[0]!.text).not.toBe(models[1]!.text);
    await create(version(1), {
      apiVersion: 'windlass.dev/v1alpha1',
      kind: 'InferenceService',
      metadata: { name: 'tiny', namespace: team },
      spec: { model: { name: 'tiny' }, replicas: 2, runtimeRef: { kind: 'TrainingRuntime', name: 'cached' }, podTemplate },
    });
    await settled(2);
    const address = await kubectl('get', 'service', 'tiny', '-n', team, '-o', 'jsonpath={.spec.clusterIP}:{.spec.ports[0].port}');
    const texts = models.map(({ text }) => text);
    const load = startLoad({ url: `http://${address}`, model: 'tiny', prompt, maxTokens, texts, clients: 6 });
    const began = performance.now();
    try {
      for (const number of [2, 3, 4, 5]) {
        await create(version(number));
        await settled(2, `tiny-${number}`);
      }
      await scale(4);
      await settled(4);
      await scale(1);
      await settled(1);
      for (const maxSequences of [4, 5, 6]) {
        await patch({ engine: { maxSequences } });
        await settled(1);
      }
      // The only pod goes to the other node before its own is empty.
      const [node] = await nodesOfPods();
      await kubectl('drain', node!, '--ignore-daemonsets', '--delete-emptydir-data', '--timeout=300s');
      await settled(1);
      expect(await nodesOfPods()).not.toContain(node);
      await kubectl('uncordon', node!);
      await scale(3);
      await settled(3);
      for (const maxSequences of [7, 8, 9]) {
        await patch({ engine: { maxSequences } });
        await settled(3);
      }
      for (const drained of ['node-1', 'node-2']) {
        await kubectl('drain', drained, '--ignore-daemonsets', '--delete-emptydir-data', '--timeout=300s');
        await settled(3);
        expect(await nodesOfPods()).not.toContain(drained);
        await kubectl('uncordon', drained);
      }
      await scale(2);
      await settled(2);
      await vi.waitFor(() => expect(load.answered + load.failures.length).toBeGreaterThanOrEqual(requests), waiting);
    } finally {
      await load.stop();
    }
    const { answered, streamed, connections, failures } = load;
    const seconds = Math.round((performance.now() - began) / 1000);
    process.stderr.write(`${answered} answered, ${streamed} of them streams, ${connections} connections, ${seconds} s\n`);
    expect(failures).toEqual([]);
    expect(answered).toBeGreaterThanOrEqual(requests);
    expect([...load.counts.keys()].toSorted()).toEqual(texts.toSorted());
    // Each model came once to the disk that all pods share.
    expect(readdirSync(join(folder, 'cache/models')).toSorted()).toEqual(models.map(({ digest }) => digest).toSorted());
    expect(operator.lines.filter(({ level }) => level === 'error')).toEqual([]);
  },
);

/** Versions are served by the two models in turn. */
function version(number: number): object {
  const index = number % models.length;
  return {
    apiVersion: 'windlass.dev/v1alpha1',
    kind: 'ModelVersion',
    metadata: { name: `tiny-${number}`, namespace: team },
    spec: {
      model: 'tiny',
      number,
      uri: `pvc://windlass-models/${index}`,
      digest: `sha256:${models[index]!.digest}`,
      format: 'huggingface',
      architecture: 'LlamaForCausalLM',
      parameters: 1,
      contextLength: 128,
      vocabularySize: 320,
      bytes: 1,
    },
  };
}

/** Waits until the service has seen its spec, and all of its pods are of one revision, answer, and are as many as they shall be. */
async function settled(replicas: number, active?: string): Promise<void> {
  await vi.waitFor(async () => {
    const { metadata, status } = JSON.parse(await kubectl('get', 'isvc', 'tiny', '-n', team, '-o', 'json')) as Service;
    expect(status, JSON.stringify(status.conditions)).toMatchObject({
      observedGeneration: metadata.generation,
      replicas,
      readyReplicas: replicas,
      model: { state: 'Serving', ...(active === undefined ? {} : { active }) },
    });
  }, waiting);
}

interface Service {
  metadata: { generation: number };
  status: { conditions: object[] };
}

async function nodesOfPods(): Promise<string[]> {
  const found = await kubectl('get', 'pods', '-n', team, '-o', 'json');
  const { items } = JSON.parse(found) as { items: { metadata: { deletionTimestamp?: string }; spec: { nodeName: string } }[] };
  return items.filter(({ metadata }) => metadata.deletionTimestamp === undefined).map(({ spec }) => spec.nodeName);
}

const scale = (replicas: number): Promise<string> => kubectl('scale', 'isvc/tiny', '-n', team, `--replicas=${replicas}`);

const patch = (spec: object): Promise<string> =>
  kubectl('patch', 'isvc', 'tiny', '-n', team, '--type=merge', '-p', JSON.stringify({ spec }));

const create = (...items: object[]): Promise<string> =>
  kubectlWith(JSON.stringify({ apiVersion: 'v1', kind: 'List', items }), 'create', '-f', '-');

const kubectl = (...args: string[]): Promise<string> => kubectlWith('', ...args);

function kubectlWith(input: string, ...args: string[]): Promise<string> {
  return capture(binaryOf('kubectl'), ['--kubeconfig', cluster.kubeconfig, ...args], { input });
}
