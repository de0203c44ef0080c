// What the operator tells Prometheus of jobs: where their time goes, and what was done about faults. Series of all jobs together, but for the
// ratio, which goes with its job.
import { Counter, Gauge } from 'prom-client';
import type { Registry } from 'prom-client';
import type { TrainingJob, TrainingJobStatus } from '#crds/v1alpha1/index.ts';
import { lostCauses } from './goodput.ts';

/** Jobs that a page names: the newest of those that have not ended. */
const maxNamedJobs = 1000;

export interface JobMetrics {
  /** The status of a job was written. */
  changed(before: TrainingJobStatus | undefined, after: TrainingJobStatus): void;
}

export function createJobMetrics(registry: Registry, jobs: () => readonly TrainingJob[]): JobMetrics {
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
  const ratio = new Gauge({
    name: 'windlass_trainingjob_goodput_ratio',
    help: 'Productive time of a job that has not ended over all its time since the start.',
    labelNames: ['namespace', 'name'] as const,
    registers: [],
    collect() {
      this.reset();
      const open = jobs().filter(({ status }) => status?.completionTime === undefined && status?.goodput?.ratio !== undefined);
      const newest = open.toSorted((a, b) => createdAt(b).localeCompare(createdAt(a))).slice(0, maxNamedJobs);
      for (const { metadata, status } of newest)
        this.set({ namespace: metadata.namespace ?? '', name: metadata.name }, status!.goodput!.ratio!);
    },
  });
  registry.registerMetric(ratio);
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

const createdAt = ({ metadata }: TrainingJob) => metadata.creationTimestamp ?? '';
