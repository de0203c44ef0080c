// `windlass operator` on a real API server: jobs from their pods to their model, and what becomes of the operator.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, inject, it, vi } from 'vitest';
import { label } from '#crds/names.ts';
import { Model, ModelVersion, TrainingJob } from '#crds/v1alpha1/index.ts';
import { lastWords, trainingJob } from '#operator/controllers/fixtures.ts';
import type { HttpKube } from '#operator/kube/http-kube.ts';
import { Event, Lease, Pod, Service } from '#operator/kube/core.ts';
import { connect, newNamespace } from './kube.ts';
import { startOperator } from './operator-process.ts';
import { startStubKubelet } from './stub-kubelet.ts';
import type { Fate } from './stub-kubelet.ts';
import { startProxy } from './tcp-proxy.ts';

const rankOf = (pod: Pod) => Number(pod.metadata.labels?.[label.rank]);
const finishes: Fate = (pod) => ({ exitCode: 0, ...(rankOf(pod) === 0 ? { words: lastWords() } : {}) });
const runsOn: Fate = () => undefined;

/** Four ranks, of which the first publishes. */
const fourRanks = {
  parallelism: { dataReplicate: 4 },
  task: { pretrain: { steps: 400, batch: { sequences: 8, length: 128, grains: 4 } } },
};

function job(namespace: string, name: string, spec: object = {}): TrainingJob {
  const made = trainingJob(name, spec);
  return { ...made, metadata: { ...made.metadata, namespace } };
}

/** The job as soon as `test` holds. */
function jobWhere(client: HttpKube, namespace: string, name: string, test: (job: TrainingJob) => boolean): Promise<TrainingJob> {
  return vi.waitFor(
    async () => {
      const found = await client.get(TrainingJob, { namespace, name });
      if (!test(found)) throw new Error(`not yet: ${JSON.stringify(found.status)}`);
      return found;
    },
    { timeout: 90_000, interval: 50 },
  );
}

async function setUp(fate: Fate) {
  const { client, transport } = await connect();
  const namespace = await newNamespace(client);
  const stack = new AsyncDisposableStack();
  stack.defer(() => transport.close());
  const kubelet = stack.use(await startStubKubelet(namespace, fate));
  const names = async () => (await client.list(Pod, { namespace })).items.map(({ metadata }) => metadata.name);
  return { client, namespace, kubelet, names, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

describe('windlass operator', () => {
  it('makes the pods of a job, and a model of what they publish', async () => {
    await using test = await setUp(finishes);
    const { client, namespace, kubelet } = test;
    await using operator = startOperator(namespace);
    await client.create(TrainingJob, job(namespace, 'moby', fourRanks));
    const done = await jobWhere(client, namespace, 'moby', ({ status }) => status?.state === 'Succeeded');
    expect(kubelet.seen.toSorted()).toEqual([0, 1, 2, 3].map((rank) => `moby-worker-${rank} 0`));
    expect(done.status).toMatchObject({ observedGeneration: 1, attempt: 0 });
    const conditions = Object.fromEntries(done.status!.conditions!.map(({ type, status }) => [type, status]));
    expect(conditions).toMatchObject({ Ready: 'True', Complete: 'True' });
    expect((await client.get(Service, { namespace, name: 'moby-workers' })).spec.clusterIP).toBe('None');
    expect((await client.get(Model, { namespace, name: 'moby' })).metadata.name).toBe('moby');
    const [version] = (await client.list(ModelVersion, { namespace })).items;
    expect(version?.spec).toMatchObject({ model: 'moby', number: 1, source: { job: 'moby', uid: done.metadata.uid } });
    // Events are told beside the work.
    const reasons = async () => (await client.list(Event, { namespace })).items.map(({ reason }) => reason);
    await vi.waitFor(async () => expect((await reasons()).length).toBeGreaterThan(0), { timeout: 60_000, interval: 50 });
    expect(operator.lines.filter(({ level }) => level === 'error')).toEqual([]);
  });

  it('makes the pod of a rank that was killed again, and the job goes on', async () => {
    const killed = new Set<string>();
    const diesOnce: Fate = (pod) => {
      if (rankOf(pod) !== 2 || killed.size > 0) return undefined;
      killed.add(pod.metadata.uid!);
      return { exitCode: 137 };
    };
    await using test = await setUp(diesOnce);
    const { client, namespace, kubelet } = test;
    await using operator = startOperator(namespace);
    await client.create(TrainingJob, job(namespace, 'moby', fourRanks));
    await jobWhere(client, namespace, 'moby', ({ status }) => status?.state === 'Running' && status.restarts === 1);
    kubelet.fate = finishes;
    kubelet.nudge();
    await jobWhere(client, namespace, 'moby', ({ status }) => status?.state === 'Succeeded');
    expect(kubelet.seen.toSorted()).toEqual([0, 1, 2, 2, 3].map((rank) => `moby-worker-${rank} 0`));
    expect(operator.lines.filter(({ level }) => level === 'error')).toEqual([]);
  });

  it('ends pods when a job is suspended, and makes them again when it goes on', async () => {
    await using test = await setUp(runsOn);
    const { client, namespace, kubelet, names } = test;
    await using _ = startOperator(namespace);
    await client.create(TrainingJob, job(namespace, 'moby'));
    await jobWhere(client, namespace, 'moby', ({ status }) => status?.state === 'Running');
    await client.patch(TrainingJob, { namespace, name: 'moby' }, { spec: { suspend: true } });
    await jobWhere(client, namespace, 'moby', ({ status }) => status?.state === 'Suspended');
    await vi.waitFor(async () => expect(await names()).toEqual([]), { timeout: 60_000 });
    kubelet.fate = finishes;
    await client.patch(TrainingJob, { namespace, name: 'moby' }, { spec: { suspend: false } });
    await jobWhere(client, namespace, 'moby', ({ status }) => status?.state === 'Succeeded');
    expect(kubelet.seen).toHaveLength(2);
  });

  it('tells its health and metrics, stops in order, and leaves the lease to others', async () => {
    await using test = await setUp(finishes);
    const { client, namespace } = test;
    await using operator = startOperator(namespace);
    await operator.said('controllers run');
    await client.create(TrainingJob, job(namespace, 'moby'));
    await jobWhere(client, namespace, 'moby', ({ status }) => status?.state === 'Succeeded');
    expect(await operator.page('health', '/healthz')).toEqual({ status: 200, body: 'ok\n' });
    expect(await operator.page('health', '/readyz')).toEqual({ status: 200, body: 'ok\n' });
    const { body } = await operator.page('metrics', '/metrics');
    for (const line of [
      'leader_election_master_status{name="windlass-operator"} 1',
      'controller_runtime_max_concurrent_reconciles{controller="trainingjob"} 32',
      'workqueue_depth{name="trainingjob",controller="trainingjob",priority="0"} 0',
    ])
      expect(body).toContain(line);
    expect(body).toMatch(/controller_runtime_reconcile_total\{controller="trainingjob",result="success"\} [1-9]/);
    expect(body).toMatch(/rest_client_requests_total\{code="201",method="POST",host="127.0.0.1:\d+"\} [1-9]/);
    const profile = await operator.page('profiles', '/debug/profile?seconds=0.1');
    expect(Object.keys(JSON.parse(profile.body) as object)).toContain('nodes');
    operator.kill('SIGTERM');
    expect(await operator.ended).toBe(0);
    expect(operator.lines.at(-1)?.msg).toBe('stopped');
    expect((await client.get(Lease, { namespace, name: 'windlass-operator' })).spec.holderIdentity).toBe('');
  });

  it('of two, one works; when it is killed the other goes on with the job, and makes no pod twice', async () => {
    await using test = await setUp(runsOn);
    const { client, namespace, kubelet } = test;
    await using first = startOperator(namespace);
    await first.said('this operator leads');
    await using second = startOperator(namespace);
    await second.said('health can be asked');
    await vi.waitFor(async () => expect((await second.page('health', '/readyz')).status).toBe(200), { timeout: 60_000 });
    await client.create(TrainingJob, job(namespace, 'moby', fourRanks));
    await jobWhere(client, namespace, 'moby', ({ status }) => status?.state === 'Running');
    expect(second.lines.map(({ msg }) => msg)).not.toContain('this operator leads');
    first.kill('SIGKILL');
    await first.ended;
    kubelet.fate = finishes;
    kubelet.nudge();
    await second.said('this operator leads');
    await jobWhere(client, namespace, 'moby', ({ status }) => status?.state === 'Succeeded');
    expect(kubelet.seen).toHaveLength(4);
  });

  it('that was stopped in its sleep finds that another leads, writes nothing more, and ends', async () => {
    await using test = await setUp(runsOn);
    const { client, namespace, kubelet } = test;
    await using first = startOperator(namespace);
    await first.said('this operator leads');
    await using second = startOperator(namespace);
    await second.said('health can be asked');
    first.kill('SIGSTOP');
    await second.said('this operator leads');
    await client.create(TrainingJob, job(namespace, 'moby', fourRanks));
    await jobWhere(client, namespace, 'moby', ({ status }) => status?.state === 'Running');
    const { uid } = (await client.get(TrainingJob, { namespace, name: 'moby' })).metadata;
    first.kill('SIGCONT');
    expect(await first.ended).toBe(75);
    expect(first.stderr).toContain('WL_LEADERSHIP_LOST');
    expect(first.lines.filter(({ msg }) => msg === 'job changed state')).toEqual([]);
    kubelet.fate = finishes;
    kubelet.nudge();
    const done = await jobWhere(client, namespace, 'moby', ({ status }) => status?.state === 'Succeeded');
    expect(done.metadata.uid).toBe(uid);
    expect(kubelet.seen).toHaveLength(4);
    expect((await client.get(Lease, { namespace, name: 'windlass-operator' })).spec.leaseTransitions).toBe(1);
  });

  it('outlives an API server that goes away, and learns what happened meanwhile', async () => {
    await using test = await setUp(runsOn);
    const { client, namespace, kubelet } = test;
    const { url, kubeconfig } = inject('cluster');
    await using proxy = await startProxy(new URL(url));
    const folder = await mkdtemp(join(tmpdir(), 'operator-'));
    const through = join(folder, 'kubeconfig');
    await writeFile(through, (await readFile(kubeconfig, 'utf8')).replaceAll(new URL(url).host, `127.0.0.1:${proxy.port}`));
    await using operator = startOperator(namespace, { kubeconfig: through, args: ['--no-leader-elect'] });
    await client.create(TrainingJob, job(namespace, 'moby', fourRanks));
    await jobWhere(client, namespace, 'moby', ({ status }) => status?.state === 'Running');
    for (const outage of ['close', 'freeze'] as const) {
      const restarts = outage === 'close' ? 1 : 2;
      proxy[outage]();
      const killed = new Set<string>();
      kubelet.fate = (pod) =>
        rankOf(pod) === 1 && killed.size === 0 && killed.add(pod.metadata.uid!) ? { exitCode: 137 } : undefined;
      kubelet.nudge();
      const failed = async () => (await client.get(Pod, { namespace, name: 'moby-worker-1' })).status?.phase;
      await vi.waitFor(async () => expect(await failed()).toBe('Failed'), { timeout: 60_000, interval: 50 });
      if (outage === 'close') proxy.open();
      else proxy.thaw();
      await jobWhere(client, namespace, 'moby', ({ status }) => status?.state === 'Running' && status.restarts === restarts);
    }
    kubelet.fate = finishes;
    kubelet.nudge();
    await jobWhere(client, namespace, 'moby', ({ status }) => status?.state === 'Succeeded');
    expect(kubelet.seen.toSorted()).toEqual([0, 1, 1, 1, 2, 3].map((rank) => `moby-worker-${rank} 0`));
    operator.kill('SIGTERM');
    expect(await operator.ended).toBe(0);
    await rm(folder, { recursive: true });
  });
});
