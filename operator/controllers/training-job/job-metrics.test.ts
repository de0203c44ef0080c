import { Registry } from 'prom-client';
import { expect, it } from 'vitest';
import type { TrainingJobStatus } from '#crds/v1alpha1/index.ts';
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
  const metrics = createJobMetrics(registry);
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
