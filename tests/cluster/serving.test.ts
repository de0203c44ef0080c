// InferenceServices on a real API server: what `kubectl scale` and autoscalers ask of them, and what a rollout that is stuck says.
import { beforeAll, describe, expect, inject, it, vi } from 'vitest';
import { annotation } from '#crds/names.ts';
import { InferenceService, ModelVersion } from '#crds/v1alpha1/index.ts';
import { inferenceService, modelVersion } from '#operator/controllers/fixtures.ts';
import { Pod, PodDisruptionBudget } from '#operator/kube/core.ts';
import type { HttpKube } from '#operator/kube/http-kube.ts';
import { build } from '../../hack/test-cluster/build.ts';
import { capture } from '../../hack/test-cluster/command.ts';
import { binaryOf } from '../../hack/test-cluster/components.ts';
import { connect, newNamespace } from './kube.ts';
import { startOperator } from './operator-process.ts';
import { startStubKubelet } from './stub-kubelet.ts';

beforeAll(() => build(['kubectl'], (line) => process.stderr.write(`cluster: ${line}\n`)), 1_800_000);

describe('an InferenceService', () => {
  it('is scaled by kubectl, says how many pods of which labels there are, and ends first what does not answer', async () => {
    await using test = await setUp();
    const { client, namespace } = test;
    await client.create(InferenceService, service(namespace, { replicas: 2 }));
    await serves(client, namespace, 2);
    const scaleOf = async () => {
      const { transport } = test;
      const path = `/apis/windlass.dev/v1alpha1/namespaces/${namespace}/inferenceservices/moby/scale`;
      return (await transport.request({ method: 'GET', path })) as { spec: object; status: object };
    };
    expect(await scaleOf()).toMatchObject({
      kind: 'Scale',
      spec: { replicas: 2 },
      status: { replicas: 2, selector: 'windlass.dev/service=moby' },
    });
    expect(await kubectl('scale', 'isvc/moby', '--replicas=4', '-n', namespace)).toContain('scaled');
    await serves(client, namespace, 4);
    expect(await scaleOf()).toMatchObject({ spec: { replicas: 4 }, status: { replicas: 4 } });
    const selected = await kubectl('get', 'pods', '-n', namespace, '-l', 'windlass.dev/service=moby', '-o', 'name');
    expect(selected.trim().split('\n')).toHaveLength(4);
    expect((await client.get(PodDisruptionBudget, { namespace, name: 'moby' })).spec.minAvailable).toBe(3);

    const [sick, ...well] = (await client.list(Pod, { namespace })).items;
    await client.patchStatus(Pod, sick!.metadata, { conditions: [{ type: 'Ready', status: 'False' }] });
    await vi.waitFor(async () => expect((await read(client, namespace)).status?.readyReplicas).toBe(3), waiting);
    await kubectl('scale', 'isvc/moby', '--replicas=3', '-n', namespace);
    await serves(client, namespace, 3);
    const left = (await client.list(Pod, { namespace })).items.map(({ metadata }) => metadata.name);
    expect(left.toSorted()).toEqual(well.map(({ metadata }) => metadata.name).toSorted());

    await kubectl('scale', 'isvc/moby', '--replicas=0', '-n', namespace);
    await serves(client, namespace, 0);
    await kubectl('scale', 'isvc/moby', '--replicas=1', '-n', namespace);
    await serves(client, namespace, 1);
  });

  it('keeps the old pod while new ones do not start, says after the deadline what is stuck, and is back at once when its spec is', async () => {
    await using test = await setUp();
    const { client, namespace } = test;
    await client.create(InferenceService, service(namespace, { rollout: { progressDeadlineSeconds: 1 } }));
    await serves(client, namespace, 1);
    const [old] = (await client.list(Pod, { namespace })).items;
    test.kubelet.starts = (pod) => pod.metadata.uid === old!.metadata.uid;
    await client.patch(InferenceService, { namespace, name: 'moby' }, { spec: { engine: { maxSequences: 3 } } });
    await vi.waitFor(async () => {
      const { status } = await read(client, namespace);
      const told = Object.fromEntries(status?.conditions?.map(({ type, status, reason }) => [type, `${status} ${reason}`]) ?? []);
      expect(told).toEqual({ Ready: 'True PodsStarting', Stalled: 'True ProgressDeadlineExceeded' });
      expect(status).toMatchObject({ replicas: 2, readyReplicas: 1 });
    }, waiting);
    await client.patch(InferenceService, { namespace, name: 'moby' }, { spec: { engine: { maxSequences: 16 } } });
    await serves(client, namespace, 1);
    expect((await client.list(Pod, { namespace })).items.map(({ metadata }) => metadata.uid)).toEqual([old!.metadata.uid]);
  });
});

describe('with drain-first and one replica', () => {
  it('the old pod ends before the new one is made, a new one that does not start is named, and the version before is back when asked for', async () => {
    await using test = await setUp();
    const { client, namespace, kubelet } = test;
    const rollout = { strategy: 'DrainFirst', progressDeadlineSeconds: 1 };
    await client.create(InferenceService, service(namespace, { rollout, drain: { timeoutSeconds: 600 } }));
    await serves(client, namespace, 1);
    const isOf = (version: string) => (pod: Pod) => pod.metadata.annotations?.[annotation.served] === version;
    kubelet.hinder = (pod) => ({ staysForever: isOf('moby-1')(pod) });
    kubelet.starts = (pod) => !isOf('moby-2')(pod);
    await client.create(ModelVersion, version(namespace, 2));
    const says = (expected: object) =>
      vi.waitFor(async () => {
        const { conditions = [] } = (await read(client, namespace)).status ?? {};
        const told = Object.fromEntries(conditions.map(({ type, status, reason }) => [type, `${status} ${reason}`]));
        expect(told).toEqual(expected);
        return conditions.find(({ type }) => type === 'Ready')?.message;
      }, waiting);
    expect(await says({ Ready: 'False Draining', Reconciling: 'True Draining' })).toMatch(/moby-1 ends first .* until \d{4}-/);
    expect((await client.list(Pod, { namespace })).items.map(isOf('moby-1'))).toEqual([true]);

    kubelet.hinder = undefined;
    kubelet.nudge();
    const stuck = { Ready: 'False PodsStarting', Stalled: 'True ProgressDeadlineExceeded' };
    expect(await says(stuck)).toContain('set spec.model.version to moby-1 to have it back');
    expect((await client.list(Pod, { namespace })).items.map(isOf('moby-2'))).toEqual([true]);
    await client.patch(InferenceService, { namespace, name: 'moby' }, { spec: { model: { name: null, version: 'moby-1' } } });
    await serves(client, namespace, 1);
    expect((await client.list(Pod, { namespace })).items.map(isOf('moby-1'))).toEqual([true]);
    // One after the other, never two at once.
    expect(kubelet.seen).toHaveLength(3);
  });
});

const waiting = { timeout: 90_000, interval: 50 };

async function setUp() {
  const { client, transport } = await connect();
  const namespace = await newNamespace(client);
  const stack = new AsyncDisposableStack();
  stack.defer(() => transport.close());
  const kubelet = stack.use(await startStubKubelet(namespace, () => undefined));
  stack.use(startOperator(namespace));
  await client.create(ModelVersion, version(namespace));
  return { client, transport, namespace, kubelet, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

function service(namespace: string, spec: object): InferenceService {
  const made = inferenceService('moby', spec);
  return { ...made, metadata: { ...made.metadata, namespace } };
}

function version(namespace: string, number = 1): ModelVersion {
  const made = modelVersion('moby', number);
  return { ...made, metadata: { ...made.metadata, namespace } };
}

const read = (client: HttpKube, namespace: string): Promise<InferenceService> =>
  client.get(InferenceService, { namespace, name: 'moby' });

/** Waits until the service has seen its spec, and just as many pods exist and answer. */
async function serves(client: HttpKube, namespace: string, replicas: number): Promise<void> {
  await vi.waitFor(async () => {
    const { metadata, status } = await read(client, namespace);
    const [observedGeneration, state] = [metadata.generation, 'Serving'];
    expect(status).toMatchObject({ observedGeneration, replicas, readyReplicas: replicas, model: { state } });
  }, waiting);
}

const kubectl = (...args: string[]): Promise<string> =>
  capture(binaryOf('kubectl'), ['--kubeconfig', inject('cluster').kubeconfig, ...args]);
