// What the operator counts of all jobs together, those included that are deleted since: where their time went, and what was done about faults. The
// account of each job by itself is in ../object-metrics.
import { Counter } from 'prom-client';
import type { Registry } from 'prom-client';
import type { TrainingJobStatus } from '#crds/v1alpha1/index.ts';
import { lostCauses } from './goodput.ts';

export interface JobMetrics {
  /** The status of a job was written. */
  changed(before: TrainingJobStatus | undefined, after: TrainingJobStatus): void;
}

export function createJobMetrics(registry: Registry): JobMetrics {
  const registers = [registry];
  const productive = new Counter({
    name: 'windlass_trainingjob_productive_seconds_total',
    help: 'Time of steps that were done for the first time, of all jobs.',
    registers,
  });
  const lost = new Counter({
    name: 'windlass_trainingjob_lost_seconds_total',
    help: 'Time of all jobs that did not go into new steps, by cause.',
    labelNames: ['cause'] as const,
    registers,
  });
  const failures = new Counter({
    name: 'windlass_trainingjob_failures_total',
    help: 'Faults of all jobs, by what was done about them.',
    labelNames: ['action', 'charged'] as const,
    registers,
  });
  for (const cause of lostCauses) lost.inc({ cause }, 0);
  return {
    changed(before, after) {
      const [old, now] = [before?.goodput, after.goodput];
      const grown = (then = 0, later = 0) => Math.max(0, later - then);
      productive.inc(grown(old?.productiveSeconds, now?.productiveSeconds));
      for (const cause of lostCauses) lost.inc({ cause }, grown(old?.lost?.[cause], now?.lost?.[cause]));
      const { lastFailure: failure } = after;
      if (failure && failure.time !== before?.lastFailure?.time)
        failures.inc({ action: failure.action ?? 'unknown', charged: String(failure.charged === true) });
    },
  };
}
