// Metrics of controllers and queues, with the names, labels and buckets of controller-runtime, so that its dashboards work.
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';

export type ReconcileOutcome = 'success' | 'error' | 'requeue' | 'requeue_after';

const reconcileBuckets = [
  0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.25, 1.5, 1.75, 2, 2.5, 3,
  3.5, 4, 4.5, 5, 6, 7, 8, 9, 10, 15, 20, 25, 30, 40, 50, 60,
];
/** client-go's. */
const requestBuckets = [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60];
const queueBuckets = Array.from({ length: 12 }, (_, power) => 1e-8 * 10 ** power);

/** All series of one process, in a registry of their own. */
export function createMetrics(registry: Registry = new Registry()) {
  const controller = ['controller'] as const;
  const queue = ['name', 'controller'] as const;
  const registers = [registry];
  const counter = <L extends string>(name: string, help: string, labelNames: readonly L[]) =>
    new Counter({ name, help, labelNames: [...labelNames], registers });
  const gauge = <L extends string>(name: string, help: string, labelNames: readonly L[]) =>
    new Gauge({ name, help, labelNames: [...labelNames], registers });
  const histogram = <L extends string>(name: string, help: string, labelNames: readonly L[], buckets: number[]) =>
    new Histogram({ name, help, labelNames: [...labelNames], buckets, registers });
  return {
    registry,
    reconciles: counter('controller_runtime_reconcile_total', 'Reconciles by result.', ['controller', 'result'] as const),
    errors: counter('controller_runtime_reconcile_errors_total', 'Reconciles that failed.', controller),
    terminalErrors: counter('controller_runtime_terminal_reconcile_errors_total', 'Reconciles that failed for good.', controller),
    panics: counter('controller_runtime_reconcile_panics_total', 'Reconciles that ended in a fault of the program.', controller),
    timeouts: counter('controller_runtime_reconcile_timeouts_total', 'Reconciles that took too long.', controller),
    reconcileSeconds: histogram(
      'controller_runtime_reconcile_time_seconds',
      'Time of a reconcile.',
      controller,
      reconcileBuckets,
    ),
    maxConcurrent: gauge('controller_runtime_max_concurrent_reconciles', 'Workers of the controller.', controller),
    activeWorkers: gauge('controller_runtime_active_workers', 'Workers that are reconciling now.', controller),
    queueDepth: gauge('workqueue_depth', 'Keys that wait.', [...queue, 'priority'] as const),
    queueAdds: counter('workqueue_adds_total', 'Keys that were added.', queue),
    queueRetries: counter('workqueue_retries_total', 'Keys that were added again after a failure.', queue),
    queueSeconds: histogram('workqueue_queue_duration_seconds', 'Time that a key waited.', queue, queueBuckets),
    workSeconds: histogram('workqueue_work_duration_seconds', 'Time that the work on a key took.', queue, queueBuckets),
    unfinishedSeconds: gauge('workqueue_unfinished_work_seconds', 'Sum of the ages of all work in progress.', queue),
    requests: counter('rest_client_requests_total', 'Requests to the API server.', ['code', 'method', 'host'] as const),
    requestSeconds: histogram(
      'rest_client_request_duration_seconds',
      'Time to the head of the answer.',
      ['verb', 'host'] as const,
      requestBuckets,
    ),
    leading: gauge('leader_election_master_status', 'Whether this process leads.', ['name'] as const),
    slowRenewals: counter('leader_election_slowpath_total', 'Renewals that had to read the lease first.', ['name'] as const),
    busConnected: gauge('windlass_bus_connected', 'Whether the bus for progress reports is there.', ['server'] as const),
    longestSeconds: gauge('workqueue_longest_running_processor_seconds', 'Age of the oldest work in progress.', queue),
  };
}

/** Adds what is known of the process: memory, CPU, event loop lag, garbage collection. */
export function addProcessMetrics(registry: Registry): void {
  collectDefaultMetrics({ register: registry });
}

export type Metrics = ReturnType<typeof createMetrics>;
