// A service with one pod and room for no second one: from version to version, and back.
import { describe, expect, it } from 'vitest';
import { annotation } from '#crds/names.ts';
import { InferenceService, ModelVersion } from '#crds/v1alpha1/index.ts';
import { Event, Pod } from '#operator/kube/core.ts';
import { FakeCluster } from '../fake-cluster.ts';
import { inferenceService, modelVersion } from '../fixtures.ts';

const key = { namespace: 'default', name: 'moby' };
const served = ({ metadata }: Pod) => metadata.annotations?.[annotation.served];
const serves = (version: string) => (pod: Pod) => served(pod) === version;

/** A cluster in which one pod serves version 1. */
async function serving(spec: object = {}): Promise<FakeCluster> {
  const cluster = new FakeCluster();
  await cluster.start();
  await cluster.kube.create(ModelVersion, modelVersion('moby', 1));
  await cluster.kube.create(InferenceService, inferenceService('moby', { rollout: { strategy: 'DrainFirst' }, ...spec }));
  await cluster.tick(3);
  expect(await told(cluster)).toEqual({ Ready: 'True Serving' });
  return cluster;
}

const statusOf = async ({ kube }: FakeCluster) => (await kube.get(InferenceService, key)).status!;

async function told(cluster: FakeCluster): Promise<Record<string, string>> {
  const { conditions = [] } = await statusOf(cluster);
  return Object.fromEntries(conditions.map(({ type, status, reason }) => [type, `${status} ${reason}`]));
}

/** What the condition Ready says. */
const words = async (cluster: FakeCluster) => (await statusOf(cluster)).conditions?.find(({ type }) => type === 'Ready')?.message;

/** `moby-1` for a pod of it, `moby-1 ends` for one that is going. */
async function podsOf({ kube }: FakeCluster): Promise<string[]> {
  const { items } = await kube.list(Pod);
  return items.map((pod) => `${served(pod)}${pod.metadata.deletionTimestamp === undefined ? '' : ' ends'}`);
}

describe('with drain-first and one replica', () => {
  it('the old pod has all of its time to end, then the new one starts, and the status says so', async () => {
    const cluster = await serving();
    cluster.hangs = serves('moby-1');
    await cluster.kube.create(ModelVersion, modelVersion('moby', 2));
    for (let second = 0; second < 30; second++) {
      await cluster.tick();
      expect(await podsOf(cluster)).toEqual(['moby-1 ends']);
    }
    expect(await told(cluster)).toEqual({ Ready: 'False Draining', Reconciling: 'True Draining' });
    expect(await words(cluster)).toMatchInlineSnapshot(
      `"0 pods answer; pod moby-26520f1f-0 of moby-1 ends first (spec.rollout.strategy: DrainFirst): what has begun goes on until 2026-01-01T00:00:43Z at the latest, then one of moby-2 starts"`,
    );
    const { replicas, readyReplicas, model } = await statusOf(cluster);
    expect([replicas, readyReplicas, model?.active, model?.target, model?.state]).toEqual([0, 0, undefined, 'moby-2', 'Loading']);

    cluster.hangs = () => false;
    cluster.answers = () => false;
    await cluster.tick(3);
    expect(await podsOf(cluster)).toEqual(['moby-2']);
    expect(await told(cluster)).toEqual({ Ready: 'False PodsStarting', Reconciling: 'True PodsStarting' });
    const [starting] = (await cluster.kube.list(Pod)).items;
    await cluster.kube.patchStatus(Pod, starting!.metadata, { conditions: [{ type: 'Ready', status: 'True' }] });
    await cluster.tick();
    expect(await told(cluster)).toEqual({ Ready: 'True Serving' });
    const { model: now } = await statusOf(cluster);
    expect([now?.active, now?.lastServed?.target]).toEqual(['moby-2', 'moby-2']);
    const reasons = (await cluster.kube.list(Event)).items.map(({ reason }) => reason);
    expect(reasons).toContain('Draining');
    await cluster.stop();
  });

  it('a drain that is longer than the deadline of the rollout is not stuck; a pod that does not start afterwards is', async () => {
    const drain = { delaySeconds: 0, timeoutSeconds: 90 };
    const cluster = await serving({ drain, rollout: { strategy: 'DrainFirst', progressDeadlineSeconds: 20 } });
    cluster.hangs = serves('moby-1');
    await cluster.kube.create(ModelVersion, modelVersion('moby', 2));
    await cluster.tick(80);
    expect(await told(cluster)).toEqual({ Ready: 'False Draining', Reconciling: 'True Draining' });
    cluster.hangs = () => false;
    cluster.answers = () => false;
    await cluster.tick(15);
    expect(await told(cluster)).toEqual({ Ready: 'False PodsStarting', Reconciling: 'True PodsStarting' });
    await cluster.tick(10);
    expect(await told(cluster)).toEqual({ Ready: 'False PodsStarting', Stalled: 'True ProgressDeadlineExceeded' });
    expect(await words(cluster)).toContain('set spec.model.version to moby-1 to have it back.');
    await cluster.stop();
  });

  it('a pod that does not end, as on a node that is gone, holds up the next one for its time to end and 30 s', async () => {
    const cluster = await serving({ drain: { delaySeconds: 1, timeoutSeconds: 4 } });
    cluster.hangs = serves('moby-1');
    await cluster.kube.create(ModelVersion, modelVersion('moby', 2));
    await cluster.tick(36);
    expect(await podsOf(cluster)).toEqual(['moby-1 ends']);
    await cluster.tick(8);
    expect(await podsOf(cluster)).toEqual(['moby-1 ends', 'moby-2']);
    expect(await told(cluster)).toEqual({ Ready: 'True Serving' });
    await cluster.stop();
  });

  it.each([
    ['the version before is asked for', 'patch'],
    ['the version that fails is deleted', 'delete'],
  ])('a version that fails is named, with what was served before, which is back when %s', async (_, how) => {
    const cluster = await serving();
    const first = [...cluster.podsMade];
    cluster.answers = (pod) => served(pod) !== 'moby-2';
    const broken = {
      exitCode: 64,
      words: { code: 'WL_MODEL_INVALID', message: 'config.json lacks hidden_size', remedy: 'Publish again.' },
    };
    cluster.fate = (pod) => (served(pod) === 'moby-2' ? broken : undefined);
    await cluster.kube.create(ModelVersion, modelVersion('moby', 2));
    await cluster.tick(6);
    expect(await told(cluster)).toEqual({ Ready: 'False EngineFailed', Stalled: 'True EngineFailed' });
    const message = (await words(cluster))!;
    expect(message.replace(cluster.podsMade.at(-1)!, 'POD')).toBe(
      'POD, exit code 64, WL_MODEL_INVALID: config.json lacks hidden_size. Publish again. ' +
        'Before, moby-1 was served: set spec.model.version to moby-1 to have it back.',
    );
    expect((await statusOf(cluster)).model).toMatchObject({
      state: 'Failed',
      target: 'moby-2',
      lastServed: { target: 'moby-1' },
    });

    if (how === 'delete') await cluster.kube.delete(ModelVersion, { namespace: 'default', name: 'moby-2' });
    else await cluster.kube.patch(InferenceService, key, { spec: { model: { name: null, version: 'moby-1' } } });
    await cluster.tick(5);
    expect(await podsOf(cluster)).toEqual(['moby-1']);
    expect(await told(cluster)).toEqual({ Ready: 'True Serving' });
    // With the old spec its revision is the old one too.
    if (how === 'delete') expect(cluster.podsMade.at(-1)).toBe(first[0]);
    await cluster.stop();
  });

  it('a spec that fails points to the one before', async () => {
    const cluster = await serving();
    cluster.answers = () => false;
    const living = (await cluster.kube.list(Pod)).items[0]!.metadata.uid;
    cluster.fate = (pod) => (pod.metadata.uid === living ? undefined : { exitCode: 137 });
    const before = (await statusOf(cluster)).model!.lastServed!.revision;
    await cluster.kube.patch(InferenceService, key, { spec: { engine: { maxSequences: 3 } } });
    await cluster.tick(5);
    expect(await words(cluster)).toContain(
      `Before, moby-1 was served with another spec (revision ${before}): apply that one to have it back.`,
    );
    await cluster.stop();
  });
});
