// What jobs tell a scheduler and a queue, on a real API server: gangs before pods, pod sets while suspended, and who runs a job.
import { afterAll, beforeAll, describe, expect, inject, it, vi } from 'vitest';
import { label } from '#crds/names.ts';
import { TrainingJob } from '#crds/v1alpha1/index.ts';
import { trainingJob } from '#operator/controllers/fixtures.ts';
import type { KubeObject, ResourceType } from '#operator/kube/client.ts';
import { Pod } from '#operator/kube/core.ts';
import { isInvalid } from '#operator/kube/errors.ts';
import type { HttpKube } from '#operator/kube/http-kube.ts';
import { PodGroup } from '#operator/kube/pod-group.ts';
import { thrownBy } from '#operator/kube/testing/contract.ts';
import { startApiServer } from '../../hack/test-cluster/cluster.ts';
import { connect, newNamespace } from './kube.ts';
import { startOperator } from './operator-process.ts';
import { startStubKubelet } from './stub-kubelet.ts';

const waiting = { timeout: 90_000, interval: 50 };
const fourRanks = {
  parallelism: { dataReplicate: 4 },
  task: { pretrain: { steps: 400, batch: { sequences: 8, length: 128, grains: 4 } } },
};
const demanded = { ...fourRanks, scheduling: { schedulingPolicy: { gang: {} } } };

/** Jobs whose pods run as soon as they are made, unless the cluster has a scheduler to wait for. */
async function setUp(kubeconfig = inject('cluster').kubeconfig) {
  const { client, transport } = await connect(kubeconfig);
  const namespace = await newNamespace(client);
  const stack = new AsyncDisposableStack();
  stack.defer(() => transport.close());
  stack.use(await startStubKubelet(namespace, () => undefined, { kubeconfig }));
  const operator = stack.use(startOperator(namespace, { kubeconfig }));
  await operator.said('controllers run');
  return {
    client,
    namespace,
    operator,
    start: (name: string, spec: object = {}) => {
      const made = trainingJob(name, spec);
      return client.create(TrainingJob, { ...made, metadata: { ...made.metadata, namespace } });
    },
    patch: (name: string, spec: object) => client.patch(TrainingJob, { namespace, name }, { spec }),
    until: (name: string, holds: (job: TrainingJob) => boolean) =>
      vi.waitFor(async () => {
        const job = await client.get(TrainingJob, { namespace, name });
        if (!holds(job)) throw new Error(`not yet: ${JSON.stringify(job.status)}`);
        return job;
      }, waiting),
    podsOf: async (job: string) => (await client.list(Pod, { namespace, labels: { [label.job]: job } })).items,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** What the tests on the API server of the run share: an operator takes its time to start. */
let test: Awaited<ReturnType<typeof setUp>>;
beforeAll(async () => {
  test = await setUp();
});
afterAll(() => test[Symbol.asyncDispose]());

const isIn = (state: string) => (job: TrainingJob) => job.status?.state === state;
const conditionOf = ({ status }: TrainingJob, type: string) => status?.conditions?.find((condition) => condition.type === type);

/** Versions at which the objects of a kind were made, from now on. The API server counts all its writes by one counter. */
async function recordMade(client: HttpKube, type: ResourceType, namespace: string) {
  const made = new Map<string, number>();
  const stop = new AbortController();
  const { resourceVersion } = await client.list(type, { namespace });
  const watching = (async () => {
    for await (const event of client.watch<KubeObject>(type, { namespace, resourceVersion, signal: stop.signal })) {
      if (event.type === 'ADDED') made.set(event.object.metadata.name, Number(event.object.metadata.resourceVersion));
    }
  })();
  const end = async () => {
    stop.abort();
    await watching;
  };
  return { made, [Symbol.asyncDispose]: end };
}

describe('gangs', () => {
  it('are there before the first of their pods, whatever else is made at the same time', async () => {
    const { client, namespace } = test;
    await using groups = await recordMade(client, PodGroup, namespace);
    await using pods = await recordMade(client, Pod, namespace);
    const names = Array.from({ length: 12 }, (_, index) => `job-${index}`);
    await Promise.all(names.map((name) => test.start(name, fourRanks)));
    for (const name of names) await test.until(name, isIn('Running'));
    await vi.waitFor(() => expect([groups.made.size, pods.made.size]).toEqual([names.length, 4 * names.length]), waiting);
    expect([...groups.made.keys()].toSorted()).toEqual(names.map((name) => `${name}-workers-0`).toSorted());
    for (const name of names) {
      for (const { metadata, spec } of await test.podsOf(name)) {
        expect(spec.schedulingGroup).toEqual({ podGroupName: `${name}-workers-0` });
        expect(groups.made.get(`${name}-workers-0`)).toBeLessThan(pods.made.get(metadata.name) ?? 0);
      }
    }
    expect(test.operator.lines.filter(({ level }) => level === 'error')).toEqual([]);
  });

  it('are kept as they were asked for', async () => {
    const scheduling = { ...demanded.scheduling, disruptionMode: { all: {} } };
    await test.start('elastic', { ...fourRanks, elastic: { minRanks: 2 }, scheduling });
    const { metadata } = await test.until('elastic', isIn('Running'));
    const group = await test.client.get(PodGroup, { namespace: test.namespace, name: 'elastic-workers-0' });
    expect(group.spec).toMatchObject({ schedulingPolicy: { gang: { minCount: 2 } }, disruptionMode: { all: {} } });
    expect(group.metadata.ownerReferences).toMatchObject([{ kind: 'TrainingJob', uid: metadata.uid, controller: true }]);
  });
});

describe('a cluster without gangs', () => {
  it('runs jobs all the same, with a condition that says so, and lets those wait that ask for a gang', async () => {
    await using cluster = await startApiServer({ gangScheduling: false });
    await using test = await setUp(cluster.kubeconfig);
    await test.start('moby', fourRanks);
    await test.start('strict', demanded);
    const running = await test.until('moby', isIn('Running'));
    expect(conditionOf(running, 'GangScheduled')).toMatchObject({ status: 'False', reason: 'NotSupportedByCluster' });
    const strict = await test.until('strict', (job) => conditionOf(job, 'Ready')?.reason === 'GangNotSupported');
    expect(strict.status).toMatchObject({ state: 'Pending', observedGeneration: 1 });
    expect(conditionOf(strict, 'Ready')?.message).toContain('or leave out schedulingPolicy');
    expect(await test.podsOf('moby')).toHaveLength(4);
    expect(await test.podsOf('strict')).toEqual([]);
    await test.patch('strict', { suspend: true });
    await test.until('strict', isIn('Suspended'));
    await test.patch('strict', { suspend: false, scheduling: null });
    await test.until('strict', isIn('Running'));
    expect(test.operator.lines.filter(({ level }) => level === 'error' || level === 'warn')).toEqual([]);
  });
});

describe('a job that is admitted by someone else', () => {
  it('tells what it asks for while it is suspended, takes what it is given, and starts', async () => {
    const podTemplate = { nodeSelector: { disk: 'fast' }, resources: { requests: { cpu: 1 } } };
    await test.start('queued', { suspend: true, podTemplate });
    const suspended = await test.until('queued', isIn('Suspended'));
    expect(suspended.status?.podSets).toEqual([
      { name: 'worker', count: 1, requests: { cpu: '1' }, nodeSelector: { disk: 'fast' } },
    ]);
    expect(await test.podsOf('queued')).toEqual([]);
    const given = { nodeSelector: { disk: 'fast', pool: 'spot' }, tolerations: [{ key: 'spot', operator: 'Exists' as const }] };
    await test.patch('queued', { suspend: false, podTemplate: given });
    await test.until('queued', isIn('Running'));
    const [pod] = await test.podsOf('queued');
    expect(pod?.spec.nodeSelector).toEqual(given.nodeSelector);
    expect(pod?.spec.tolerations).toContainEqual(given.tolerations[0]);
    const taken = { podTemplate: { nodeSelector: { pool: null }, tolerations: null } };
    expect(isInvalid(await thrownBy(test.patch('queued', taken)))).toBe(true);
    await test.patch('queued', { suspend: true, ...taken });
    const back = await test.until(
      'queued',
      (job) => isIn('Suspended')(job) && job.status?.podSets?.[0]?.tolerations === undefined,
    );
    expect(back.status?.podSets).toMatchObject([{ nodeSelector: { disk: 'fast' } }]);
  });

  it('can be changed in how it is placed only while it is suspended', async () => {
    await test.start('placed');
    await test.until('placed', isIn('Running'));
    const scheduling = { schedulingPolicy: { basic: {} } };
    expect(await thrownBy(test.patch('placed', { scheduling }))).toMatchObject({
      message: expect.stringContaining("scheduling can't change while the job runs; set suspend: true first") as string,
    });
    await test.patch('placed', { suspend: true, scheduling });
    const suspended = await test.until('placed', isIn('Suspended'));
    expect(suspended.spec.scheduling).toEqual(scheduling);
  });

  it('is left alone when another controller runs it, and keeps its manager', async () => {
    await test.start('theirs', { managedBy: 'kueue.x-k8s.io/multikueue' });
    await test.start('ours', { managedBy: 'windlass.dev/trainingjob-controller' });
    await test.until('ours', isIn('Running'));
    const theirs = await test.client.get(TrainingJob, { namespace: test.namespace, name: 'theirs' });
    expect(theirs.status?.conditions ?? []).toEqual([]);
    expect(await test.podsOf('theirs')).toEqual([]);
    for (const managedBy of [null, 'example.com/other'])
      expect(isInvalid(await thrownBy(test.patch('theirs', { managedBy })))).toBe(true);
    await test.client.patchStatus(TrainingJob, { namespace: test.namespace, name: 'theirs' }, { state: 'Running' });
    await test.start('later');
    await test.until('later', isIn('Running'));
    const after = await test.client.get(TrainingJob, { namespace: test.namespace, name: 'theirs' });
    expect(after.status).toMatchObject({ state: 'Running' });
    expect(after.status?.conditions ?? []).toEqual([]);
  });
});
