import { Registry } from 'prom-client';
import { expect, it } from 'vitest';
import type { KubeObject, ResourceType } from '#crds/resource.ts';
import type { InferenceService, Model, TrainingJob } from '#crds/v1alpha1/index.ts';
import { inferenceService, trainingJob } from '../fixtures.ts';
import { addObjectMetrics, objectFamilies } from './main.ts';

const time = (seconds: number) => new Date(seconds * 1000).toISOString();

const running: TrainingJob = {
  ...trainingJob('moby'),
  metadata: { name: 'moby', namespace: 'team', creationTimestamp: time(1000) },
  status: {
    observedGeneration: 1,
    state: 'Running',
    restarts: 2,
    readyRanks: 1,
    startTime: time(1010),
    progress: {
      step: 12,
      steps: 400,
      loss: 5.5,
      heldOutLoss: 6,
      gradientNorm: 0.5,
      learningRate: 0.001,
      tokensPerSecond: 6543.2,
      peakShare: 0.4,
      etaSeconds: 60,
      phase: 'evaluating',
      rssBytes: 1 << 20,
      time: time(1100),
    },
    ranks: [{ rank: 0, bytes: 2 << 20 }],
    checkpoint: { step: 10, time: time(1090) },
    goodput: { ratio: 0.75, productiveSeconds: 75, lost: { starting: 15, hanging: 10 } },
    conditions: [{ type: 'Ready', status: 'True', reason: 'Running', message: '', lastTransitionTime: time(1020) }],
  },
};
const ended: TrainingJob = { ...running, status: { ...running.status, state: 'Succeeded', completionTime: time(1200) } };
const service: InferenceService = {
  ...inferenceService('moby', { replicas: 2 }),
  metadata: { name: 'moby', namespace: 'team', creationTimestamp: time(1000) },
  status: {
    replicas: 2,
    readyReplicas: 1,
    model: { state: 'Loading' },
    conditions: [{ type: 'Ready', status: 'False', reason: 'EngineFailed', message: '', lastTransitionTime: time(1020) }],
  },
};
const model = { kind: 'Model', metadata: { name: 'moby', namespace: 'team' }, spec: {}, status: { versions: 3 } } as Model;

function registryOf(objects: readonly KubeObject[], leads = () => true): Registry {
  const registry = new Registry();
  const list = (kind: string) => objects.filter((object) => object.kind === kind);
  const store = <T extends KubeObject>(type: ResourceType<T>) => ({ list: () => list(type.kind) as unknown as T[] });
  addObjectMetrics(registry, { store }, leads);
  return registry;
}

/** Lines of the text with a value, in their order. */
const values = async (registry: Registry): Promise<string[]> =>
  (await registry.metrics()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));

it('tells every figure of a job that runs', async () => {
  expect((await values(registryOf([running]))).map((line) => line.replace('namespace="team",trainingjob="moby"', '...')))
    .toMatchInlineSnapshot(`
    [
      "windlass_trainingjob_info{...,task="pretrain",model="moby"} 1",
      "windlass_trainingjob_created_timestamp_seconds{...} 1000",
      "windlass_trainingjob_start_timestamp_seconds{...} 1010",
      "windlass_trainingjob_state{...,state="Pending"} 0",
      "windlass_trainingjob_state{...,state="Starting"} 0",
      "windlass_trainingjob_state{...,state="Running"} 1",
      "windlass_trainingjob_state{...,state="Restarting"} 0",
      "windlass_trainingjob_state{...,state="Suspended"} 0",
      "windlass_trainingjob_state{...,state="Succeeded"} 0",
      "windlass_trainingjob_state{...,state="Failed"} 0",
      "windlass_trainingjob_reason{...,reason="Running"} 1",
      "windlass_trainingjob_ranks{...} 1",
      "windlass_trainingjob_ranks_ready{...} 1",
      "windlass_trainingjob_step{...} 12",
      "windlass_trainingjob_steps{...} 400",
      "windlass_trainingjob_loss{...} 5.5",
      "windlass_trainingjob_held_out_loss{...} 6",
      "windlass_trainingjob_gradient_norm{...} 0.5",
      "windlass_trainingjob_learning_rate{...} 0.001",
      "windlass_trainingjob_tokens_per_second{...} 6543.2",
      "windlass_trainingjob_peak_ratio{...} 0.4",
      "windlass_trainingjob_eta_seconds{...} 60",
      "windlass_trainingjob_phase_ratio{...,phase="evaluating"} 0",
      "windlass_trainingjob_progress_timestamp_seconds{...} 1100",
      "windlass_trainingjob_rank_memory_bytes{...} 2097152",
      "windlass_trainingjob_straggler{...} 0",
      "windlass_trainingjob_restarts_total{...} 2",
      "windlass_trainingjob_goodput_ratio{...} 0.75",
      "windlass_trainingjob_spent_seconds{...,cause="productive"} 75",
      "windlass_trainingjob_spent_seconds{...,cause="waiting"} 0",
      "windlass_trainingjob_spent_seconds{...,cause="starting"} 15",
      "windlass_trainingjob_spent_seconds{...,cause="restarting"} 0",
      "windlass_trainingjob_spent_seconds{...,cause="repeating"} 0",
      "windlass_trainingjob_spent_seconds{...,cause="checkpointing"} 0",
      "windlass_trainingjob_spent_seconds{...,cause="evaluating"} 0",
      "windlass_trainingjob_spent_seconds{...,cause="hanging"} 10",
      "windlass_trainingjob_spent_seconds{...,cause="other"} 0",
      "windlass_trainingjob_checkpoint_step{...} 10",
      "windlass_trainingjob_checkpoint_timestamp_seconds{...} 1090",
      "windlass_trainingjob_checkpoint_interval_steps{...} 100",
    ]
  `);
});

it('tells no speed, estimate or phase of a job that has ended, and when it ended', async () => {
  const lines = await values(registryOf([ended]));
  for (const name of ['tokens_per_second', 'eta_seconds', 'phase_ratio', 'peak_ratio', 'rank_memory_bytes'])
    expect(lines.filter((line) => line.startsWith(`windlass_trainingjob_${name}`))).toEqual([]);
  expect(lines).toContain('windlass_trainingjob_completion_timestamp_seconds{namespace="team",trainingjob="moby"} 1200');
  expect(lines).toContain('windlass_trainingjob_state{namespace="team",trainingjob="moby",state="Succeeded"} 1');
  expect(lines).toContain('windlass_trainingjob_state{namespace="team",trainingjob="moby",state="Running"} 0');
});

it('tells of services and models how far they are', async () => {
  expect((await values(registryOf([service, model]))).map((line) => line.replace('namespace="team"', '...')))
    .toMatchInlineSnapshot(`
    [
      "windlass_inferenceservice_info{...,inferenceservice="moby",model="moby"} 1",
      "windlass_inferenceservice_created_timestamp_seconds{...,inferenceservice="moby"} 1000",
      "windlass_inferenceservice_replicas_wanted{...,inferenceservice="moby"} 2",
      "windlass_inferenceservice_replicas{...,inferenceservice="moby"} 2",
      "windlass_inferenceservice_replicas_ready{...,inferenceservice="moby"} 1",
      "windlass_inferenceservice_ready{...,inferenceservice="moby"} 0",
      "windlass_inferenceservice_reconciling{...,inferenceservice="moby"} 0",
      "windlass_inferenceservice_stalled{...,inferenceservice="moby"} 0",
      "windlass_inferenceservice_reason{...,inferenceservice="moby",reason="EngineFailed"} 1",
      "windlass_inferenceservice_model_state{...,inferenceservice="moby",state="Waiting"} 0",
      "windlass_inferenceservice_model_state{...,inferenceservice="moby",state="Loading"} 1",
      "windlass_inferenceservice_model_state{...,inferenceservice="moby",state="Serving"} 0",
      "windlass_inferenceservice_model_state{...,inferenceservice="moby",state="Failed"} 0",
      "windlass_model_versions{...,model="moby"} 3",
    ]
  `);
});

it('takes a job that nobody has seen for one that waits, with no figure made up', async () => {
  const fresh = { ...trainingJob('new'), status: { observedGeneration: 0 } };
  const lines = await values(registryOf([fresh]));
  expect(lines.filter((line) => line.endsWith(' 1')).map((line) => line.slice(0, line.indexOf('{')))).toEqual([
    'windlass_trainingjob_info',
    'windlass_trainingjob_state',
    'windlass_trainingjob_ranks',
  ]);
  expect(lines.some((line) => line.includes('NaN'))).toBe(false);
});

it('is told by the operator that leads only, from one reading to the next', async () => {
  let leads = true;
  const registry = registryOf([running, service, model], () => leads);
  expect((await values(registry)).length).toBeGreaterThan(30);
  leads = false;
  expect(await values(registry)).toEqual([]);
});

it('gives each job a bounded number of series, whatever its ranks', async () => {
  const many = { ...running, status: { ...running.status, ranks: Array.from({ length: 64 }, (_, rank) => ({ rank })) } };
  expect(await values(registryOf([many]))).toHaveLength((await values(registryOf([running]))).length);
});

it('names no family twice, and units in the way of Prometheus', () => {
  const names = Object.values(objectFamilies).flatMap((families) => families.map(({ name }) => name));
  expect(new Set(names).size).toBe(names.length);
  for (const families of Object.values(objectFamilies)) {
    for (const { name, type, unit } of families) {
      expect(name.endsWith('_total'), name).toBe(type === 'counter');
      if (unit.startsWith('seconds')) expect(name).toMatch(/_seconds$/);
      if (unit === 'bytes') expect(name).toMatch(/_bytes$/);
      if (unit === '0 to 1') expect(name).toMatch(/_ratio$/);
    }
  }
});
