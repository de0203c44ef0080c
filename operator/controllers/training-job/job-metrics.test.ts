import { Registry } from 'prom-client';
import { expect, it } from 'vitest';
import type { TrainingJob, TrainingJobStatus } from '#crds/v1alpha1/index.ts';
import { trainingJob } from '../fixtures.ts';
import { createJobMetrics } from './job-metrics.ts';

async function linesOf(registry: Registry): Promise<string[]> {
  return (await registry.metrics()).split('\n').filter((line) => line.startsWith('windlass_'));
}

const after: TrainingJobStatus = {
  goodput: { ratio: 0.75, productiveSeconds: 30, lost: { starting: 8, hanging: 2 } },
  lastFailure: { time: '2026-01-01T12:00:00Z', action: 'RestartRank', charged: true },
};

it('counts the seconds and faults of all jobs, and each only once', async () => {
  const registry = new Registry();
  const metrics = createJobMetrics(registry, () => []);
  metrics.changed(undefined, after);
  metrics.changed(after, after);
  metrics.changed(after, { ...after, goodput: { productiveSeconds: 45, lost: { starting: 8, hanging: 2.5 } } });
  expect((await linesOf(registry)).filter((line) => !line.endsWith(' 0'))).toEqual([
    'windlass_trainingjob_productive_seconds_total 45',
    'windlass_trainingjob_lost_seconds_total{cause="starting"} 8',
    'windlass_trainingjob_lost_seconds_total{cause="hanging"} 2.5',
    'windlass_trainingjob_failures_total{action="RestartRank",charged="true"} 1',
  ]);
});

it('names the ratio of a job as long as it has not ended and is there', async () => {
  const jobs: TrainingJob[] = ['moby', 'whale'].map((name) => ({ ...trainingJob(name), status: after }));
  jobs[1] = { ...jobs[1]!, status: { ...after, completionTime: '2026-01-01T12:00:00Z' } };
  const registry = new Registry();
  createJobMetrics(registry, () => jobs);
  const ratios = async () => (await linesOf(registry)).filter((line) => line.includes('ratio'));
  expect(await ratios()).toEqual(['windlass_trainingjob_goodput_ratio{namespace="default",name="moby"} 0.75']);
  jobs.length = 0;
  expect(await ratios()).toEqual([]);
});

it('names a thousand jobs at most, the newest', async () => {
  const made = Array.from({ length: 1100 }, (_, index) => {
    const job = trainingJob(`job-${index}`);
    const creationTimestamp = new Date(Date.UTC(2026, 0, 1) + index * 1000).toISOString();
    return { ...job, metadata: { ...job.metadata, creationTimestamp }, status: after };
  });
  const registry = new Registry();
  createJobMetrics(registry, () => made);
  const named = (await linesOf(registry)).filter((line) => line.includes('goodput_ratio{'));
  expect([
    named.length,
    named.some((line) => line.includes('"job-99"')),
    named.some((line) => line.includes('"job-1099"')),
  ]).toEqual([1000, false, true]);
});
