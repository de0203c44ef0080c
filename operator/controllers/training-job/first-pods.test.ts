import { describe, expect, it, onTestFinished } from 'vitest';
import { ClusterTrainingRuntime, TrainingJob } from '#crds/v1alpha1/index.ts';
import { Pod } from '#operator/kube/core.ts';
import { FakeCluster } from '../fake-cluster.ts';
import type { Kill } from '../fake-cluster.ts';
import { trainingJob } from '../fixtures.ts';
import { settingsOf, withSettings } from './first-pods.ts';
import { effective, pod } from './testing.ts';

const key = { namespace: 'default', name: 'moby' };
const fourRanks = {
  parallelism: { dataReplicate: 4 },
  task: { pretrain: { steps: 400, batch: { sequences: 8, length: 128, grains: 4 } } },
};

async function clusterWith(spec: object, kill?: Kill): Promise<FakeCluster> {
  const cluster = new FakeCluster(kill);
  onTestFinished(() => cluster.stop());
  await cluster.start();
  await cluster.kube.create(TrainingJob, trainingJob('moby', spec));
  return cluster;
}

const written = ({ writes }: FakeCluster) =>
  writes.filter(({ type }) => type.kind !== 'Event').map(({ verb, type }) => `${verb} ${type.kind}`);
const statusOf = async ({ kube }: FakeCluster) => (await kube.get(TrainingJob, key)).status;

describe('the first pods of a job', () => {
  it('are made before its status is written, and one write tells of them when they run at once', async () => {
    const cluster = await clusterWith(fourRanks);
    await cluster.tick();
    const firsts = written(cluster);
    expect(firsts.indexOf('patchStatus TrainingJob')).toBeGreaterThan(firsts.lastIndexOf('create Pod'));
    expect(firsts.filter((write) => write === 'patchStatus TrainingJob')).toHaveLength(1);
    expect(await statusOf(cluster)).toMatchObject({ state: 'Running', readyRanks: 4, effective: { image: 'windlass:test' } });
  });

  it('that do not run are told of after a second, whether anything happens or not', async () => {
    const cluster = await clusterWith(fourRanks);
    await cluster.settle();
    expect(written(cluster).filter((write) => write === 'create Pod')).toHaveLength(4);
    expect(written(cluster)).not.toContain('patchStatus TrainingJob');
    const begun = cluster.clock.now();
    cluster.clock.advance(999);
    await cluster.settle();
    expect(await statusOf(cluster)).not.toHaveProperty('state');
    cluster.clock.advance(1);
    await cluster.settle();
    const { state, startTime = '', effective: settings } = (await statusOf(cluster))!;
    expect({ state, settings }).toMatchObject({ state: 'Starting', settings: { image: 'windlass:test' } });
    expect(Date.parse(startTime)).toBeLessThanOrEqual(begun);
  });

  it('are told of at once in a job that is left alone from now on', async () => {
    const cluster = await clusterWith(fourRanks);
    await cluster.settle();
    await cluster.kube.patch(TrainingJob, key, { metadata: { annotations: { 'windlass.dev/paused': 'true' } } });
    await cluster.settle();
    expect(await statusOf(cluster)).toMatchObject({ state: 'Starting', effective: { image: 'windlass:test' } });
    const before = cluster.writes.length;
    cluster.clock.advance(5000);
    await cluster.settle();
    expect(cluster.writes.slice(before)).toEqual([]);
  });

  it('are all made from the same settings, when the operator is killed among them and its runtime is another one then', async () => {
    const runtime = (image: string) => ({
      apiVersion: ClusterTrainingRuntime.apiVersion,
      kind: 'ClusterTrainingRuntime',
      metadata: { name: 'house' },
      spec: { image, env: [{ name: 'HOUSE', value: image }], storage: { jobsClaim: 'a', modelsClaim: 'b' } },
    });
    for (const when of ['before', 'after'] as const) {
      for (let write = 1; write <= 6; write += 1) {
        const cluster = new FakeCluster({ write, when });
        onTestFinished(() => cluster.stop());
        await cluster.kube.create(ClusterTrainingRuntime, runtime('house:1'));
        await cluster.start();
        cluster.onKill = async () => {
          const before = await cluster.kube.get(ClusterTrainingRuntime, { name: 'house' });
          await cluster.kube.update(ClusterTrainingRuntime, { ...before, spec: { ...before.spec, image: 'house:2' } });
        };
        await cluster.kube.create(TrainingJob, trainingJob('moby', { ...fourRanks, runtimeRef: { name: 'house' } }));
        await cluster.tick(3);
        const pods = (await cluster.kube.list(Pod)).items;
        const images = new Set(pods.map(({ spec }) => spec.containers[0]!.image));
        expect({ write, when, killed: cluster.killed, pods: pods.length, images: images.size }).toEqual({
          write,
          when,
          killed: true,
          pods: 4,
          images: 1,
        });
        expect((await statusOf(cluster))?.effective?.image).toBe([...images][0]);
      }
    }
  });

  it('leave a status at once when one of them can not be made', async () => {
    const cluster = new FakeCluster();
    onTestFinished(() => cluster.stop());
    await cluster.start();
    const stranger = pod({ rank: 2 });
    await cluster.kube.create(Pod, { ...stranger, metadata: { name: 'moby-worker-2', namespace: 'default' } });
    await cluster.kube.create(TrainingJob, trainingJob('moby', fourRanks));
    await cluster.settle();
    expect(await statusOf(cluster)).toMatchObject({ state: 'Starting', effective: { image: 'windlass:test' } });
  });
});

describe('the settings that pods carry', () => {
  const action = (rank: number) => withSettings({ type: 'createPod', pod: pod({ rank }) }, effective);
  const made = (rank: number) => {
    const { pod: carrying } = action(rank) as { pod: Pod };
    return carrying;
  };

  it('are those that they were made from', () => {
    expect(settingsOf([pod(), made(1)])).toEqual(effective);
  });

  it('are none where nobody wrote any, or what is written are none', () => {
    const spoilt = (text: string): Pod => ({
      ...made(0),
      metadata: { ...made(0).metadata, annotations: { 'windlass.dev/settings': text } },
    });
    expect(settingsOf([])).toBeUndefined();
    expect(settingsOf([pod(), spoilt('{'), spoilt('{"image":1}'), spoilt('null')])).toBeUndefined();
  });
});
