import { describe, expect, it } from 'vitest';
import { annotation, label } from '#crds/names.ts';
import type { KubeObject } from '#crds/resource.ts';
import { InferenceService, ModelVersion, TrainingJob } from '#crds/v1alpha1/index.ts';
import { Pod } from '#operator/kube/core.ts';
import { attemptOf } from './training-job/pods.ts';
import { FakeCluster } from './fake-cluster.ts';
import type { Fate, Kill } from './fake-cluster.ts';
import { inferenceService, lastWords, modelVersion, trainingJob } from './fixtures.ts';

/** A run of the cluster from an empty API to a state that stays. */
type Scenario = (cluster: FakeCluster) => Promise<void>;

const namespace = 'default';
const finishes: Fate = (pod) => (pod.spec.restartPolicy === 'Never' ? { exitCode: 0, words: lastWords() } : undefined);

/** Four ranks, of which the first publishes. */
const fourRanks = {
  parallelism: { dataReplicate: 4 },
  task: { pretrain: { steps: 400, batch: { sequences: 8, length: 128, grains: 4 } } },
};
const rankOf = (pod: Pod) => Number(pod.metadata.labels?.[label.rank]);
const finishTogether: Fate = (pod) => ({ exitCode: 0, ...(rankOf(pod) === 0 ? { words: lastWords() } : {}) });

const scenarios: Record<string, Scenario> = {
  'train, publish and serve': async (cluster) => {
    cluster.fate = finishes;
    await cluster.kube.create(InferenceService, inferenceService('moby', { replicas: 2 }));
    await cluster.kube.create(TrainingJob, trainingJob('moby'));
    await cluster.tick(8);
  },
  'a rank that dies twice': async (cluster) => {
    cluster.fate = (pod) => (attemptOf(pod) < 2 ? { exitCode: 80, words: { message: 'lost' } } : finishes(pod));
    await cluster.kube.create(TrainingJob, trainingJob('moby'));
    await cluster.tick(18);
  },
  'a job that gives up': async (cluster) => {
    cluster.fate = () => ({ exitCode: 75, words: { code: 'WL_IO', message: 'no disk', restarts: 1 } });
    await cluster.kube.create(TrainingJob, trainingJob('moby', { faults: { maxRestarts: 3 } }));
    await cluster.tick(18);
  },
  'four ranks, of which two are lost together and one later': async (cluster) => {
    const lose = (...ranks: number[]): Fate => {
      const lost = new Set(ranks);
      return (pod) => (lost.delete(rankOf(pod)) ? { exitCode: 137 } : undefined);
    };
    cluster.fate = lose(1, 2);
    await cluster.kube.create(TrainingJob, trainingJob('moby', fourRanks));
    await cluster.tick(6);
    cluster.fate = lose(0);
    await cluster.tick(6);
    cluster.fate = finishTogether;
    await cluster.tick(4);
  },
  'four ranks that end together, and start again': async (cluster) => {
    cluster.fate = (pod) => {
      if (attemptOf(pod) > 0) return finishTogether(pod);
      return rankOf(pod) === 2 ? { exitCode: 75, words: { code: 'WL_IO', message: 'no disk' } } : { exitCode: 92 };
    };
    await cluster.kube.create(TrainingJob, trainingJob('moby', fourRanks));
    await cluster.tick(12);
  },
  'four ranks that are suspended and go on as two': async (cluster) => {
    await cluster.kube.create(TrainingJob, trainingJob('moby', fourRanks));
    await cluster.tick(3);
    const running = await cluster.kube.get(TrainingJob, { namespace, name: 'moby' });
    await cluster.kube.update(TrainingJob, { ...running, spec: { ...running.spec, suspend: true } });
    await cluster.tick(3);
    const suspended = await cluster.kube.get(TrainingJob, { namespace, name: 'moby' });
    const parallelism = { ...suspended.spec.parallelism, dataReplicate: 2 };
    await cluster.kube.update(TrainingJob, { ...suspended, spec: { ...suspended.spec, parallelism, suspend: false } });
    cluster.fate = finishTogether;
    await cluster.tick(6);
  },
  'rules that leave a node, start all again and give up': async (cluster) => {
    const rules = [
      { name: 'sick-node', exitCodes: [86], action: 'ExcludeNode' },
      { name: 'all-anew', exitCodes: [7], action: 'RestartGang' },
      { name: 'for-nothing', exitCodes: [8], action: 'Ignore' },
    ];
    const codes = [86, 8, 7, 86];
    const met = new Set<string>();
    cluster.fate = (pod) => {
      if (met.has(pod.metadata.uid!)) return undefined;
      met.add(pod.metadata.uid!);
      return { exitCode: codes[met.size - 1] ?? 0 };
    };
    await cluster.kube.create(TrainingJob, trainingJob('moby', { faults: { maxRestarts: 2, rules } }));
    await cluster.tick(20);
  },
  'pods that somebody takes away, one of which does not end': async (cluster) => {
    await cluster.kube.create(TrainingJob, trainingJob('moby', fourRanks));
    await cluster.tick(3);
    for (const name of ['moby-worker-1', 'moby-worker-2']) {
      const { uid } = (await cluster.kube.get(Pod, { namespace, name })).metadata;
      cluster.hangs = (pod) => pod.metadata.uid === uid && name === 'moby-worker-2';
      await cluster.kube.delete(Pod, { namespace, name }, { gracePeriodSeconds: 1 });
      await cluster.tick(8);
    }
    cluster.fate = finishTogether;
    await cluster.tick(4);
  },
  'suspend and resume': async (cluster) => {
    await cluster.kube.create(TrainingJob, trainingJob('moby'));
    await cluster.tick(3);
    const running = await cluster.kube.get(TrainingJob, { namespace, name: 'moby' });
    await cluster.kube.update(TrainingJob, { ...running, spec: { ...running.spec, suspend: true } });
    await cluster.tick(3);
    const suspended = await cluster.kube.get(TrainingJob, { namespace, name: 'moby' });
    await cluster.kube.update(TrainingJob, { ...suspended, spec: { ...suspended.spec, suspend: false } });
    cluster.fate = finishes;
    await cluster.tick(6);
  },
  'the next version replaces the first, then fewer replicas': async (cluster) => {
    cluster.fate = finishes;
    await cluster.kube.create(TrainingJob, trainingJob('one'));
    await cluster.kube.create(InferenceService, inferenceService('moby', { replicas: 2 }));
    await cluster.tick(8);
    await cluster.kube.create(TrainingJob, trainingJob('two'));
    await cluster.tick(8);
    const service = await cluster.kube.get(InferenceService, { namespace, name: 'moby' });
    await cluster.kube.update(InferenceService, { ...service, spec: { ...service.spec, replicas: 1, port: 9090 } });
    await cluster.tick(6);
  },
  'the only pod makes room for a version that fails, and for the one before it again': async (cluster) => {
    const isBad = (pod: Pod) => pod.metadata.annotations?.[annotation.served] === 'moby-2';
    cluster.answers = (pod) => !isBad(pod);
    cluster.fate = (pod) =>
      isBad(pod) ? { exitCode: 64, words: { code: 'WL_MODEL_INVALID', message: 'no config.json' } } : undefined;
    await cluster.kube.create(ModelVersion, modelVersion('moby', 1));
    await cluster.kube.create(InferenceService, inferenceService('moby', { rollout: { strategy: 'DrainFirst' } }));
    await cluster.tick(4);
    await cluster.kube.create(ModelVersion, modelVersion('moby', 2));
    await cluster.tick(6);
    const service = await cluster.kube.get(InferenceService, { namespace, name: 'moby' });
    await cluster.kube.update(InferenceService, { ...service, spec: { ...service.spec, model: { version: 'moby-1' } } });
    await cluster.tick(6);
  },
  'everything is deleted half-way': async (cluster) => {
    await cluster.kube.create(TrainingJob, trainingJob('moby'));
    await cluster.kube.create(InferenceService, inferenceService('moby', {}, { uri: '/models/x' }));
    await cluster.tick(2);
    await cluster.kube.delete(TrainingJob, { namespace, name: 'moby' });
    await cluster.kube.delete(InferenceService, { namespace, name: 'moby' });
    await cluster.tick(3);
  },
  'a finished job past its time to live': async (cluster) => {
    cluster.fate = finishes;
    await cluster.kube.create(TrainingJob, trainingJob('moby', { ttlSecondsAfterFinished: 3 }));
    await cluster.tick(12);
  },
};

interface Outcome {
  state: unknown;
  podsMade: string[];
  writes: number;
  quiet: boolean;
  killed: boolean;
}

async function run(scenario: Scenario, kill?: Kill): Promise<Outcome> {
  const cluster = new FakeCluster(kill);
  await cluster.start();
  await scenario(cluster);
  const writes = cluster.writes.length;
  await cluster.tick(30);
  const quiet = cluster.writes.length === writes;
  await cluster.stop();
  return { state: maskedState(cluster), podsMade: [...cluster.podsMade].sort(), writes, quiet, killed: cluster.killed };
}

/** All objects but events, without what differs from run to run: uids, versions and times. */
function maskedState(cluster: FakeCluster): unknown {
  const objects = cluster.kube
    .snapshot()
    .objects.map(({ object }) => withoutDurations(object))
    .filter((object) => object.kind !== 'Event');
  let text = JSON.stringify(objects.sort((a, b) => `${a.kind}/${a.metadata.name}`.localeCompare(`${b.kind}/${b.metadata.name}`)));
  for (const { kind, metadata } of objects) text = text.replaceAll(`"${metadata.uid}"`, `"uid of ${kind} ${metadata.name}"`);
  text = text.replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'TIME').replaceAll(/"resourceVersion":"\d+"/g, '"resourceVersion":"V"');
  return JSON.parse(text);
}

/** A killed operator looks later: what time went to may differ, that all of it is accounted for may not. */
function withoutDurations<T extends KubeObject>(object: T): T {
  const { status } = object as unknown as TrainingJob;
  if (!status?.goodput) return object;
  const { newestStep, seconds = 0, productiveSeconds = 0, lost = {} } = status.goodput;
  const sum = Object.values(lost).reduce<number>((total, part = 0) => total + part, productiveSeconds);
  return { ...object, status: { ...status, goodput: { newestStep, addsUp: Math.abs(sum - seconds) < 0.001 } } };
}

describe.each(Object.entries(scenarios))('%s', (_, scenario) => {
  it('ends in the same state, with the same pods made, when the operator is killed before or after any of its writes', async () => {
    const reference = await run(scenario);
    expect(reference.quiet).toBe(true);
    expect(reference.writes).toBeGreaterThan(4);
    for (let write = 1; write <= reference.writes; write++) {
      for (const when of ['before', 'after'] as const) {
        const outcome = await run(scenario, { write, when });
        const place = `killed ${when} write ${write}`;
        expect({ place, state: outcome.state }).toEqual({ place, state: reference.state });
        expect({ place, pods: outcome.podsMade }).toEqual({ place, pods: reference.podsMade });
        expect({ place, quiet: outcome.quiet, killed: outcome.killed }).toEqual({ place, quiet: true, killed: true });
      }
    }
  }, 600_000);
});

describe('end states', () => {
  const objects = async (scenario: Scenario) => {
    const cluster = new FakeCluster();
    await cluster.start();
    await scenario(cluster);
    await cluster.stop();
    return cluster;
  };

  it('a trained model is served by all replicas', async () => {
    const { kube } = await objects(scenarios['train, publish and serve']!);
    const job = await kube.get(TrainingJob, { namespace, name: 'moby' });
    expect(job.status).toMatchObject({ state: 'Succeeded', modelVersion: 'moby-1', summary: { step: '400/400', loss: '5.100' } });
    const service = await kube.get(InferenceService, { namespace, name: 'moby' });
    expect(service.status).toMatchObject({ readyReplicas: 2, model: { active: 'moby-1', state: 'Serving' } });
  });

  it('lost pods are made anew, the others never', async () => {
    const { kube, podsMade } = await objects(scenarios['four ranks, of which two are lost together and one later']!);
    const { status } = await kube.get(TrainingJob, { namespace, name: 'moby' });
    expect(status).toMatchObject({ state: 'Succeeded', attempt: 0, restarts: 2, summary: { ranks: '0/4' } });
    expect(
      podsMade
        .toSorted()
        .map((name) => name.at(-1))
        .join(''),
    ).toBe('0011223');
  });

  it('ranks that end together start together, and the cause is named', async () => {
    const { kube, podsMade } = await objects(scenarios['four ranks that end together, and start again']!);
    const { status } = await kube.get(TrainingJob, { namespace, name: 'moby' });
    expect(status).toMatchObject({ state: 'Succeeded', attempt: 1, restarts: 1, lastFailure: { rank: 2, code: 'WL_IO' } });
    expect(podsMade).toHaveLength(8);
  });

  it('rules are followed to the letter, and to the last restart', async () => {
    const { kube } = await objects(scenarios['rules that leave a node, start all again and give up']!);
    const { status } = await kube.get(TrainingJob, { namespace, name: 'moby' });
    expect(status).toMatchObject({ state: 'Failed', restarts: 2, attempt: 3, excludedNodes: ['node-1'] });
    expect(status?.lastFailure).toMatchObject({ rule: 'MaxRestarts', exitCode: 86 });
  });

  it('a pod that does not end is removed, and costs nothing', async () => {
    const { kube, podsMade } = await objects(scenarios['pods that somebody takes away, one of which does not end']!);
    const { status } = await kube.get(TrainingJob, { namespace, name: 'moby' });
    expect(status).toMatchObject({
      state: 'Succeeded',
      restarts: 0,
      attempt: 0,
      lastFailure: { reason: 'PodDeleted', charged: false },
    });
    expect(podsMade).toHaveLength(6);
  });

  it('there is one version per job, numbered in order', async () => {
    const { kube } = await objects(scenarios['the next version replaces the first, then fewer replicas']!);
    const versions = (await kube.list(ModelVersion)).items;
    expect(versions.map(({ metadata, spec }) => [metadata.name, spec.source?.job])).toEqual([
      ['moby-1', 'one'],
      ['moby-2', 'two'],
    ]);
    const service = await kube.get(InferenceService, { namespace, name: 'moby' });
    expect(service.status).toMatchObject({
      replicas: 1,
      readyReplicas: 1,
      model: { active: 'moby-2' },
      url: 'http://moby.default.svc:9090',
    });
  });

  it('a job that gives up says what failed, which rule decided and what to do', async () => {
    const { kube } = await objects(scenarios['a job that gives up']!);
    const { status } = await kube.get(TrainingJob, { namespace, name: 'moby' });
    expect(status).toMatchObject({
      state: 'Failed',
      attempt: 1,
      restarts: 3,
      lastFailure: { rule: 'MaxRestarts', code: 'WL_IO', exitCode: 75 },
    });
  });
});
