// The table of access is what the controllers need: all of it is used, and every other test of the controllers runs with these rights alone.
import { describe, expect, it } from 'vitest';
import { label } from '#crds/names.ts';
import { InferenceService, TrainingJob } from '#crds/v1alpha1/index.ts';
import { createEventRecorder } from '#operator/framework/event-recorder.ts';
import { Leadership } from '#operator/framework/leadership.ts';
import { ManualClock } from '#operator/kube/clock.ts';
import { Pod } from '#operator/kube/core.ts';
import type { ResourceType } from '#operator/kube/client.ts';
import { MemoryKube } from '#operator/kube/memory-kube.ts';
import { access, leaseName } from './access.ts';
import { FakeCluster } from './fake-cluster.ts';
import { inferenceService, lastWords, trainingJob } from './fixtures.ts';
import { granted, guardedKube } from './guarded-kube.ts';

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

describe('the table of access', () => {
  it('grants what the operator asks for, and nothing that it never asks for', async () => {
    const uses = new Set([...(await usesOfControllers()), ...(await usesOfLeadership()), ...(await usesOfEvents())]);
    expect([...uses].toSorted()).toEqual([...granted()].toSorted());
  });

  it('has no secrets, no rights to give, no commands in pods and no wildcard', () => {
    const forbidden = ['secrets', 'roles', 'rolebindings', 'clusterroles', 'clusterrolebindings', 'serviceaccounts'];
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
