// The table of access is what the controllers need: all of it is used, and every other test of the controllers runs with these rights alone.
import { pino } from 'pino';
import { describe, expect, it, vi } from 'vitest';
import { label } from '#crds/names.ts';
import { InferenceService, TrainingJob } from '#crds/v1alpha1/index.ts';
import { createEventRecorder } from '#operator/framework/event-recorder.ts';
import { Manager } from '#operator/framework/manager.ts';
import { Leadership } from '#operator/framework/leadership.ts';
import { ManualClock } from '#operator/kube/clock.ts';
import { NetworkPolicy, Pod, Secret, TokenReview } from '#operator/kube/core.ts';
import type { ResourceType } from '#operator/kube/client.ts';
import { MemoryKube } from '#operator/kube/memory-kube.ts';
import { AuthorityKeeper } from '#operator/trust/authority-keeper.ts';
import { access, authoritySecret, busSecret, leaseName } from './access.ts';
import { FakeCluster } from './fake-cluster.ts';
import { inferenceService, lastWords, trainingJob } from './fixtures.ts';
import { addNetworkControllers } from './network/reconcile.ts';
import { granted, guardedKube } from './guarded-kube.ts';

/** A busy machine may take its time. */
const patience = { timeout: 60_000 };

/** Trains, lets ranks that wait go, serves, publishes again, serves that at another port; and jobs go when their time is over. */
async function usesOfControllers(): Promise<Set<string>> {
  const cluster = new FakeCluster();
  cluster.fate = (pod) => {
    if (pod.spec.restartPolicy !== 'Never') return undefined;
    return { exitCode: 0, ...(pod.metadata.labels?.[label.rank] === '0' ? { words: lastWords() } : {}) };
  };
  await cluster.start();
  const two = {
    parallelism: { dataReplicate: 2 },
    task: { pretrain: { steps: 400, batch: { sequences: 8, length: 128, grains: 2 } } },
    ttlSecondsAfterFinished: 2,
  };
  await cluster.kube.create(TrainingJob, trainingJob('one', two));
  await cluster.kube.create(InferenceService, inferenceService('moby', { replicas: 3 }));
  await cluster.settle();
  await cluster.kube.patch(TrainingJob, { namespace: 'default', name: 'one' }, { spec: { suspend: true } });
  await cluster.tick(2);
  await cluster.kube.patch(TrainingJob, { namespace: 'default', name: 'one' }, { spec: { suspend: false } });
  await cluster.tick(8);
  const service = await cluster.kube.get(InferenceService, { namespace: 'default', name: 'moby' });
  await cluster.kube.update(InferenceService, { ...service, spec: { ...service.spec, replicas: 1, port: 9090 } });
  await cluster.tick(8);
  await cluster.stop();
  return cluster.uses;
}

async function usesOfLeadership(): Promise<Set<string>> {
  const uses = new Set<string>();
  const clock = new ManualClock();
  const client = guardedKube(new MemoryKube({ clock }), uses);
  const leader = () => new Leadership({ client, clock, namespace: 'windlass', name: leaseName, identity: 'one' });
  const first = leader();
  await first.acquire(new AbortController().signal);
  await first.release();
  return uses;
}

async function usesOfEvents(): Promise<Set<string>> {
  const uses = new Set<string>();
  const clock = new ManualClock();
  const client = guardedKube(new MemoryKube({ clock }), uses);
  const recorder = createEventRecorder({ client, clock, controller: 'windlass.dev/test', instance: 'test' });
  const happening = { type: 'Normal', reason: 'Tried', action: 'Try', note: 'again' } as const;
  for (let time = 0; time < 2; time++) recorder.emit(trainingJob('moby'), happening);
  await recorder.flush();
  return uses;
}

async function usesOfTrust(): Promise<Set<string>> {
  const uses = new Set<string>();
  const clock = new ManualClock();
  const client = guardedKube(new MemoryKube({ clock }), uses);
  const rules = { certificateMs: 3_600_000, authorityMs: 36_000_000 };
  const leads = () => true;
  const keeper = new AuthorityKeeper({ client, clock, secret: { namespace: 'windlass', name: authoritySecret }, rules, leads });
  await keeper.look();
  clock.advance(rules.authorityMs);
  await keeper.look();
  const review = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview', metadata: { name: 'a' } };
  await client.create(TokenReview, { ...review, spec: { token: 'x', audiences: ['windlass'] } });
  return uses;
}

async function usesOfNetwork(): Promise<Set<string>> {
  const uses = new Set<string>();
  const kube = new MemoryKube({ clock: new ManualClock() });
  const client = guardedKube(kube, uses);
  const manager = new Manager({ client, clock: new ManualClock(), log: pino({ level: 'silent' }) });
  addNetworkControllers(manager, { ownPorts: [], otherPorts: [] });
  await kube.create(TrainingJob, trainingJob('moby'));
  await manager.start();
  const key = { namespace: 'default', name: 'moby-job' };
  const made = await vi.waitFor(() => kube.get(NetworkPolicy, key), patience);
  await kube.update(NetworkPolicy, { ...made, spec: { ...made.spec, egress: [{}] } });
  await vi.waitFor(async () => expect((await kube.get(NetworkPolicy, key)).spec).toEqual(made.spec), patience);
  await manager.stop();
  return uses;
}

describe('the table of access', () => {
  it('grants what the operator asks for, and nothing that it never asks for', async () => {
    const asked = await Promise.all([usesOfControllers(), usesOfLeadership(), usesOfEvents(), usesOfTrust(), usesOfNetwork()]);
    const uses = new Set(asked.flatMap((some) => [...some]));
    expect([...uses].toSorted()).toEqual([...granted()].toSorted());
  });

  it('has no secrets but its own two by name, no rights to give, no commands in pods and no wildcard', () => {
    for (const { where, names, verbs } of access.filter(({ type }) => type === Secret)) {
      expect(where).toBe('own');
      expect(verbs.join() === 'create' || names?.join() === [authoritySecret, busSecret].join()).toBe(true);
    }
    const forbidden = ['roles', 'rolebindings', 'clusterroles', 'clusterrolebindings', 'serviceaccounts'];
    for (const { type, verbs } of access) {
      expect(forbidden).not.toContain(type.plural);
      expect([type.group, type.plural, ...verbs].join(' ')).not.toContain('*');
    }
    expect(access.map(({ subresource }) => subresource).filter((subresource) => subresource !== undefined)).toEqual(
      Array.from({ length: 4 }, () => 'status'),
    );
  });

  it('is what a test cluster lets the operator do', async () => {
    const client = guardedKube(new MemoryKube({ clock: new ManualClock() }), new Set());
    const secrets: ResourceType = { group: '', version: 'v1', kind: 'Secret', plural: 'secrets', namespaced: true };
    await expect(client.list(secrets)).rejects.toMatchObject({ status: 403 });
    await expect(client.get(Pod, { namespace: 'default', name: 'x' })).rejects.toMatchObject({ status: 403 });
    await expect(client.list(Pod)).resolves.toMatchObject({ items: [] });
  });
});
