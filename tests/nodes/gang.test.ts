// Gangs by the real scheduler, on nodes that are objects: jobs that fit alone but not together, restarts, priorities, and what it has to say.
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { label } from '#crds/names.ts';
import { TrainingJob } from '#crds/v1alpha1/index.ts';
import { lastWords, trainingJob } from '#operator/controllers/fixtures.ts';
import type { KubeObject, ResourceType } from '#operator/kube/client.ts';
import { isoTime } from '#operator/kube/clock.ts';
import { Pod } from '#operator/kube/core.ts';
import type { HttpKube } from '#operator/kube/http-kube.ts';
import { PodGroup } from '#operator/kube/pod-group.ts';
import type { Transport } from '#operator/kube/transport.ts';
import { startApiServer } from '../../hack/test-cluster/cluster.ts';
import type { TestCluster } from '../../hack/test-cluster/cluster.ts';
import { connect, newNamespace } from '../cluster/kube.ts';
import { startOperator } from '../cluster/operator-process.ts';
import { startStubKubelet } from '../cluster/stub-kubelet.ts';
import type { Fate } from '../cluster/stub-kubelet.ts';

/** WL_RACES=100 is the full measure. */
const races = Number(process.env['WL_RACES'] ?? 6);
const waiting = { timeout: 120_000, interval: 25 };

const kind = (group: string, kind: string, plural: string, namespaced: boolean): ResourceType => ({
  group,
  version: 'v1',
  kind,
  plural,
  namespaced,
});
const Node = kind('', 'Node', 'nodes', false);
const PersistentVolume = kind('', 'PersistentVolume', 'persistentvolumes', false);
const PersistentVolumeClaim = kind('', 'PersistentVolumeClaim', 'persistentvolumeclaims', true);
const PriorityClass = kind('scheduling.k8s.io', 'PriorityClass', 'priorityclasses', false);

let cluster: TestCluster;
let client: HttpKube;
let transport: Transport;

beforeAll(async () => {
  cluster = await startApiServer({
    with: ['controller-manager', 'scheduler'],
    // Nodes without a kubelet would soon be taken for lost.
    controllerManagerArgs: ['--controllers=*,-node-lifecycle-controller'],
    say: (line) => process.stderr.write(`cluster: ${line}\n`),
  });
  ({ client, transport } = await connect(cluster.kubeconfig));
}, 3_600_000);

afterAll(async () => {
  transport?.close();
  await cluster?.stop();
});

const make = (type: ResourceType, name: string, rest: object, namespace?: string): Promise<KubeObject> =>
  client.create(type, {
    apiVersion: type.group === '' ? 'v1' : `${type.group}/v1`,
    kind: type.kind,
    metadata: { name, ...(namespace === undefined ? {} : { namespace }) },
    ...rest,
  });

/** A node of three CPUs that only pods with this selector are sent to. */
async function makeNode(name: string, pool: string): Promise<void> {
  await make(Node, name, { metadata: { name, labels: { pool } } });
  const amounts = { cpu: '3', memory: '8Gi', pods: '50' };
  const time = isoTime(Date.now());
  const ready = { type: 'Ready', status: 'True', reason: 'Made', message: '', lastHeartbeatTime: time, lastTransitionTime: time };
  await client.patchStatus(Node, { name }, { capacity: amounts, allocatable: amounts, conditions: [ready] });
  // An API server takes a new node for one that is not ready.
  await client.patch(Node, { name }, { spec: { taints: null } });
}

async function makeClaim(name: string, namespace: string): Promise<void> {
  const common = { accessModes: ['ReadWriteMany'], storageClassName: 'shared' };
  const volume = { ...common, capacity: { storage: '1Gi' }, claimRef: { namespace, name }, hostPath: { path: '/nowhere' } };
  await make(PersistentVolume, `${namespace}-${name}`, { spec: volume });
  await make(PersistentVolumeClaim, name, { spec: { ...common, resources: { requests: { storage: '1Gi' } } } }, namespace);
}

const rankOf = (pod: Pod) => Number(pod.metadata.labels?.[label.rank]);
const jobOf = (pod: Pod) => pod.metadata.labels?.[label.job] ?? '';

/** Two nodes of three CPUs, storage, an operator, and a kubelet whose pods run until their job is finished or `fate` ends them. */
async function setUp({ claims = true } = {}) {
  const namespace = await newNamespace(client);
  for (const node of ['1', '2']) await makeNode(`${namespace}-${node}`, namespace);
  if (claims) for (const claim of ['windlass-jobs', 'windlass-models']) await makeClaim(claim, namespace);
  const stack = new AsyncDisposableStack();
  const finished = new Set<string>();
  const finishes: Fate = (pod) =>
    finished.has(jobOf(pod)) ? { exitCode: 0, ...(rankOf(pod) === 0 ? { words: lastWords() } : {}) } : test.fate(pod);
  const { kubeconfig } = cluster;
  const kubelet = stack.use(await startStubKubelet(namespace, finishes, { kubeconfig, hasScheduler: true }));
  const operator = stack.use(startOperator(namespace, { kubeconfig }));
  const test = {
    namespace,
    operator,
    fate: (() => undefined) as Fate,
    nudge: () => kubelet.nudge(),
    /** Creates a job of four ranks, a CPU for each. */
    start: (name: string, spec: object = {}, requests: object = { cpu: 1 }) => {
      const made = trainingJob(name, {
        parallelism: { dataReplicate: 4 },
        task: { pretrain: { steps: 400, batch: { sequences: 8, length: 128, grains: 4 } } },
        podTemplate: { resources: { requests }, nodeSelector: { pool: namespace } },
        ...spec,
      });
      return client.create(TrainingJob, { ...made, metadata: { ...made.metadata, namespace } });
    },
    /** Lets all pods of a job end well. */
    finish: (name: string) => {
      finished.add(name);
      kubelet.nudge();
    },
    job: (name: string) => client.get(TrainingJob, { namespace, name }),
    /** The job as soon as `holds`. */
    until: (name: string, holds: (job: TrainingJob) => boolean) =>
      vi.waitFor(async () => {
        const job = await test.job(name);
        if (!holds(job)) throw new Error(`not yet: ${JSON.stringify(job.status)}`);
        return job;
      }, waiting),
    patch: (name: string, spec: object) => client.patch(TrainingJob, { namespace, name }, { spec }),
    /** Pods of a job that have a node. */
    placed: async (name: string) => {
      const { items } = await client.list(Pod, { namespace, labels: { [label.job]: name } });
      return items.filter(({ spec }) => spec.nodeName !== undefined).length;
    },
    groups: async () => (await client.list(PodGroup, { namespace })).items.map(({ metadata }) => metadata.name),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
  await operator.said('controllers run');
  return test;
}

const isIn = (state: string) => (job: TrainingJob) => job.status?.state === state;
const gangOf = (job: TrainingJob) => {
  const { status, reason } = job.status?.conditions?.find(({ type }) => type === 'GangScheduled') ?? {};
  return `${status} ${reason}`;
};
const readyOf = ({ status }: TrainingJob) => status?.conditions?.find(({ type }) => type === 'Ready');

describe('jobs that fit alone but not together', () => {
  it(
    `never block each other, in ${races} races: one runs, the other waits whole, and runs when the first has ended`,
    {
      timeout: 120_000 + races * 30_000,
    },
    async () => {
      await using test = await setUp();
      const won: Record<string, number> = { a: 0, b: 0 };
      for (let race = 0; race < races; race++) {
        const names = [`a-${race}`, `b-${race}`];
        await Promise.all(names.map((name) => test.start(name)));
        const { winner, loser } = await vi.waitFor(async () => {
          const jobs = await Promise.all(names.map(test.job));
          const running = jobs.find(isIn('Running'));
          const refused = jobs.find((job) => gangOf(job) === 'False Unschedulable');
          if (!running || !refused) throw new Error(`not yet: ${JSON.stringify(jobs.map(({ status }) => status))}`);
          return { winner: running.metadata.name, loser: refused.metadata.name };
        }, waiting);
        expect([winner, loser].toSorted()).toEqual(names);
        expect(await test.placed(winner)).toBe(4);
        expect(await test.placed(loser)).toBe(0);
        won[winner.slice(0, 1)]! += 1;
        test.finish(winner);
        await test.until(winner, isIn('Succeeded'));
        const second = await test.until(loser, isIn('Running'));
        expect(second.status).toMatchObject({ attempt: 0, restarts: 0 });
        test.finish(loser);
        await test.until(loser, isIn('Succeeded'));
        for (const name of names) await client.delete(TrainingJob, { namespace: test.namespace, name });
      }
      process.stderr.write(`gang: ${races} races, first by name won ${won['a']}, second ${won['b']}\n`);
      await vi.waitFor(async () => expect(await test.groups()).toEqual([]), waiting);
      expect(test.operator.lines.filter(({ level }) => level === 'error')).toEqual([]);
    },
  );

  it('tell what they lack, in the words of the scheduler', async () => {
    await using test = await setUp();
    await test.start('large', {}, { cpu: 2 });
    const job = await test.until('large', (job) => gangOf(job) === 'False Unschedulable');
    expect(readyOf(job)).toMatchObject({ status: 'False', reason: 'Unschedulable' });
    expect(readyOf(job)?.message).toMatch(
      /^no place for a gang of 4 pods \(PodGroup large-workers-0\): minCount \(4\) cannot be satisfied: .*; pod large-worker-\d: 0\/\d+ nodes are available: .*Insufficient cpu/,
    );
    expect(await test.placed('large')).toBe(0);
  });

  it('tell which claims to look at, where the scheduler only says that it failed', async () => {
    await using test = await setUp({ claims: false });
    await test.start('early');
    const job = await test.until('early', (job) => readyOf(job)?.message.includes('gang of 4') === true);
    expect(readyOf(job)?.message).toMatch(/windlass-jobs/);
    await makeClaim('windlass-jobs', test.namespace);
    await makeClaim('windlass-models', test.namespace);
    await test.until('early', isIn('Running'));
  });
});

describe('a gang', () => {
  it('of a new attempt is placed as a whole again, and the group of the old one goes', async () => {
    await using test = await setUp();
    await test.start('moby');
    await test.until('moby', isIn('Running'));
    expect(await test.groups()).toEqual(['moby-workers-0']);
    test.fate = (pod) => (pod.metadata.labels?.[label.attempt] === '0' ? { exitCode: rankOf(pod) === 0 ? 75 : 92 } : undefined);
    test.nudge();
    const again = await test.until('moby', (job) => job.status?.attempt === 1 && job.status.state === 'Running');
    expect(gangOf(again)).toBe('True Placed');
    await vi.waitFor(async () => expect(await test.groups()).toEqual(['moby-workers-1']), waiting);
    const { items } = await client.list(Pod, { namespace: test.namespace });
    expect(items.map(({ spec }) => spec.schedulingGroup?.podGroupName)).toEqual(Array(4).fill('moby-workers-1'));
  });

  it('gets a place for one lost pod, in the group that the others are in', async () => {
    await using test = await setUp();
    await test.start('moby');
    await test.until('moby', isIn('Running'));
    const killed = new Set<string>();
    test.fate = (pod) => {
      if (rankOf(pod) !== 2 || killed.size > 0) return undefined;
      killed.add(pod.metadata.uid!);
      return { exitCode: 137 };
    };
    test.nudge();
    await test.until('moby', (job) => job.status?.restarts === 1 && isIn('Running')(job) && job.status.readyRanks === 4);
    expect(await test.groups()).toEqual(['moby-workers-0']);
  });

  it('goes when the job is suspended, and what changed meanwhile holds for the new one', async () => {
    await using test = await setUp();
    await test.start('moby');
    await test.until('moby', isIn('Running'));
    await test.patch('moby', { suspend: true });
    const suspended = await test.until('moby', isIn('Suspended'));
    expect(suspended.status?.podSets).toEqual([
      { name: 'worker', count: 4, requests: { cpu: '1' }, nodeSelector: { pool: test.namespace } },
    ]);
    await vi.waitFor(async () => expect(await test.groups()).toEqual([]), waiting);
    const nodeSelector = { pool: test.namespace, 'kubernetes.io/hostname': `${test.namespace}-2` };
    await client.patch(Node, { name: `${test.namespace}-2` }, { metadata: { labels: nodeSelector } });
    const tolerations = [{ key: 'reserved', operator: 'Exists' }];
    const parallelism = { dataReplicate: 2 };
    await test.patch('moby', { suspend: false, parallelism, podTemplate: { nodeSelector, tolerations } });
    const running = await test.until('moby', isIn('Running'));
    expect(running.status?.podSets).toMatchObject([{ count: 2, nodeSelector }]);
    const [group] = (await client.list(PodGroup, { namespace: test.namespace })).items;
    expect(group?.spec.schedulingPolicy).toEqual({ gang: { minCount: 2 } });
    const { items } = await client.list(Pod, { namespace: test.namespace });
    expect(items.map(({ spec }) => spec.nodeName)).toEqual(Array(2).fill(`${test.namespace}-2`));
    for (const { spec } of items) expect(spec.tolerations).toContainEqual(tolerations[0]);
  });

  it('of higher priority takes the place of another one as a whole, which goes on afterwards, free of charge', async () => {
    await using test = await setUp();
    const priorityClassName = `${test.namespace}-high`;
    await make(PriorityClass, priorityClassName, { value: 1000 });
    await test.start('low');
    await test.until('low', isIn('Running'));
    await test.start('high', { scheduling: { priorityClassName } });
    const high = await test.until('high', isIn('Running'));
    expect(high.status?.podSets).toMatchObject([{ priorityClassName }]);
    expect(await test.placed('high')).toBe(4);
    const low = await test.until('low', (job) => gangOf(job) === 'False Unschedulable');
    expect(low.status?.restarts).toBe(0);
    expect(await test.placed('low')).toBe(0);
    test.finish('high');
    await test.until('high', isIn('Succeeded'));
    const back = await test.until('low', isIn('Running'));
    expect(back.status?.restarts).toBe(0);
  });

  it('of an elastic job starts with the fewest ranks that it can go on with', async () => {
    await using test = await setUp();
    await test.start('moby', { elastic: { minRanks: 2 } }, { cpu: 2 });
    const running = await test.until('moby', (job) => isIn('Running')(job) && gangOf(job) === 'True Placed');
    expect(running.status?.podSets).toMatchObject([{ count: 4, minCount: 2 }]);
    expect(await test.placed('moby')).toBe(2);
  });

  it('says so where the cluster leaves out the topology that it is to be placed by', async () => {
    await using test = await setUp();
    const schedulingConstraints = { topology: [{ key: 'topology.kubernetes.io/zone' }] };
    await test.start('moby', { scheduling: { schedulingConstraints } });
    const job = await test.until('moby', (job) => gangOf(job).startsWith('True'));
    expect(gangOf(job)).toBe('True TopologyIgnored');
    expect(job.status?.podSets).toMatchObject([{ topologyKey: 'topology.kubernetes.io/zone' }]);
  });
});
