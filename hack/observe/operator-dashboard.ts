// The dashboard of the operator: whether it leads and keeps up, what the API server answers, and how the process is.
import type { Dashboard, Panel } from './dashboard.ts';
import { leads, ofLeader } from './leader.ts';

const ofJob = 'job=~"$job"';
const quantiles = (name: string, by: string) =>
  [0.5, 0.99].map((q) => ({
    expr: `histogram_quantile(${q}, sum by (le, ${by}) (rate(${name}_bucket{${ofJob}}[$__rate_interval])))`,
    legend: `{{${by}}} p${q * 100}`,
  }));

const stat = (panel: Pick<Panel, 'title' | 'description' | 'thresholds' | 'words' | 'unit'> & { expr: string }): Panel => {
  const { expr, ...rest } = panel;
  return { ...rest, type: 'stat', width: 4, queries: [{ expr, legend: '' }] };
};

export const operatorDashboard: Dashboard = {
  name: 'operator',
  title: 'Windlass / Operator',
  description: 'Whether the operator leads and keeps up, and what it waits for.',
  variables: [{ name: 'job', label: 'Operator', of: 'leader_election_master_status{name="windlass-operator"}' }],
  rows: [
    {
      title: 'At a glance',
      panels: [
        stat({
          title: 'Leading',
          description: 'Operators that hold the lease. Exactly one should: without one, nothing is looked after.',
          unit: 'short',
          thresholds: [
            [0, 'red'],
            [1, 'green'],
            [2, 'red'],
          ],
          expr: `sum(${leads(ofJob)})`,
        }),
        stat({
          title: 'Running',
          description: 'Operators that answer, those that stand by included.',
          unit: 'short',
          expr: `count(${leads(ofJob)})`,
        }),
        stat({
          title: 'Failing reconciles',
          description: 'Share of reconciles that ended in an error.',
          unit: 'percentunit',
          thresholds: [
            [0.01, 'orange'],
            [0.1, 'red'],
          ],
          expr: `(sum(rate(controller_runtime_reconcile_errors_total{${ofJob}}[$__rate_interval])) or vector(0)) / (sum(rate(controller_runtime_reconcile_total{${ofJob}}[$__rate_interval])) > 0 or vector(1))`,
        }),
        stat({
          title: 'Waiting objects',
          description: 'Objects that changed and have not been looked at yet.',
          unit: 'short',
          thresholds: [
            [100, 'orange'],
            [1000, 'red'],
          ],
          expr: `sum(${ofLeader(`workqueue_depth{${ofJob}}`)})`,
        }),
        stat({
          title: 'Message bus',
          description: 'Whether progress reports reach the operator that leads. Training goes on without.',
          unit: 'short',
          words: { 0: 'away', 1: 'there' },
          thresholds: [
            [0, 'orange'],
            [1, 'green'],
          ],
          expr: `min(${ofLeader(`windlass_bus_connected{${ofJob}}`)})`,
        }),
        stat({
          title: 'Refused for load',
          description: 'Requests a second that the flow control of the API server put off.',
          unit: 'reqps',
          thresholds: [
            [0.1, 'orange'],
            [1, 'red'],
          ],
          expr: `sum(rate(rest_client_requests_total{${ofJob},code="429"}[$__rate_interval])) or vector(0)`,
        }),
        {
          title: 'Certificates',
          description:
            'Time until the soonest one expires. The operator renews them with a third of their life left, and its authority at half of it.',
          type: 'timeseries',
          unit: 's',
          width: 8,
          queries: [
            {
              expr: `min by (certificate) (windlass_certificate_expiry_timestamp_seconds{${ofJob}} - time())`,
              legend: '{{certificate}}',
            },
          ],
        },
        {
          title: 'Credentials',
          description: 'Requests of pods for credentials, by the status of the answer. 429: one pod asked too often.',
          type: 'timeseries',
          unit: 'reqps',
          width: 8,
          queries: [
            {
              expr: `sum by (code) (rate(windlass_credentials_requests_total{${ofJob}}[$__rate_interval]))`,
              legend: '{{code}}',
            },
          ],
        },
        {
          title: 'Jobs by state',
          description: 'TrainingJobs of all namespaces.',
          type: 'timeseries',
          unit: 'short',
          stacked: true,
          width: 12,
          queries: [
            {
              expr: 'sum by (state) (max by (namespace, trainingjob, state) (windlass_trainingjob_state))',
              legend: '{{state}}',
            },
          ],
        },
        {
          title: 'Services by readiness',
          description: 'InferenceServices of all namespaces that answer, and that do not.',
          type: 'timeseries',
          unit: 'short',
          stacked: true,
          width: 12,
          queries: [
            { expr: 'sum(max by (namespace, inferenceservice) (windlass_inferenceservice_ready))', legend: 'ready' },
            { expr: 'sum(1 - max by (namespace, inferenceservice) (windlass_inferenceservice_ready))', legend: 'not ready' },
          ],
        },
      ],
    },
    {
      title: 'Reconciles',
      panels: [
        {
          title: 'Reconciles',
          description:
            'By controller and how they ended. requeue: the object changed meanwhile; requeue_after: to be looked at later.',
          type: 'timeseries',
          unit: 'ops',
          width: 12,
          queries: [
            {
              expr: `sum by (controller, result) (rate(controller_runtime_reconcile_total{${ofJob}}[$__rate_interval]))`,
              legend: '{{controller}} {{result}}',
            },
          ],
        },
        {
          title: 'Time of a reconcile',
          description: 'Median and slowest of a hundred.',
          type: 'timeseries',
          unit: 's',
          width: 12,
          queries: quantiles('controller_runtime_reconcile_time_seconds', 'controller'),
        },
        {
          title: 'Waiting objects',
          description: 'By controller and priority; those of -100 come from the listing at the start.',
          type: 'timeseries',
          unit: 'short',
          width: 8,
          queries: [{ expr: `sum by (controller, priority) (workqueue_depth{${ofJob}})`, legend: '{{controller}} {{priority}}' }],
        },
        {
          title: 'Time in the queue',
          description: "How long an object waited: the delay between a change and the operator's answer to it.",
          type: 'timeseries',
          unit: 's',
          width: 8,
          queries: quantiles('workqueue_queue_duration_seconds', 'name'),
        },
        {
          title: 'Longest reconcile now',
          description: 'Age of the oldest work in progress. Grows without end where one hangs.',
          type: 'timeseries',
          unit: 's',
          width: 8,
          queries: [
            {
              expr: `max by (controller) (workqueue_longest_running_processor_seconds{${ofJob}})`,
              legend: '{{controller}}',
            },
          ],
        },
        {
          title: 'Busy workers',
          description: "Reconciles under way, of those that may be. At 100 %, raise the chart's value workers.",
          type: 'timeseries',
          unit: 'percentunit',
          max: 1,
          width: 8,
          queries: [
            {
              expr: `max by (controller) (controller_runtime_active_workers{${ofJob}} / controller_runtime_max_concurrent_reconciles{${ofJob}})`,
              legend: '{{controller}}',
            },
          ],
        },
        {
          title: 'Added and tried again',
          description: 'Keys added to the queues, and those of them after a failure.',
          type: 'timeseries',
          unit: 'ops',
          width: 8,
          queries: [
            { expr: `sum by (name) (rate(workqueue_adds_total{${ofJob}}[$__rate_interval]))`, legend: '{{name}} added' },
            { expr: `sum by (name) (rate(workqueue_retries_total{${ofJob}}[$__rate_interval]))`, legend: '{{name}} again' },
          ],
        },
        {
          title: 'Errors',
          description: 'Reconciles that failed; for good: those that trying again would not mend.',
          type: 'timeseries',
          unit: 'ops',
          width: 8,
          queries: [
            {
              expr: `sum by (controller) (rate(controller_runtime_reconcile_errors_total{${ofJob}}[$__rate_interval]))`,
              legend: '{{controller}}',
            },
            {
              expr: `sum by (controller) (rate(controller_runtime_terminal_reconcile_errors_total{${ofJob}}[$__rate_interval]))`,
              legend: '{{controller}} for good',
            },
          ],
        },
      ],
    },
    {
      title: 'API server',
      panels: [
        {
          title: 'Requests',
          description: 'By answer. <error>: none came.',
          type: 'timeseries',
          unit: 'reqps',
          width: 12,
          queries: [
            {
              expr: `sum by (method, code) (rate(rest_client_requests_total{${ofJob}}[$__rate_interval]))`,
              legend: '{{method}} {{code}}',
            },
          ],
        },
        {
          title: 'Time to the answer',
          description: 'Median and slowest of a hundred, watches not counted.',
          type: 'timeseries',
          unit: 's',
          width: 12,
          queries: quantiles('rest_client_request_duration_seconds', 'verb'),
        },
      ],
    },
    {
      title: 'Process',
      panels: [
        {
          title: 'Memory',
          description: 'Resident memory, and the part of JavaScript.',
          type: 'timeseries',
          unit: 'bytes',
          width: 8,
          queries: [
            { expr: ofJobOnly('process_resident_memory_bytes'), legend: '{{instance}}' },
            { expr: ofJobOnly('nodejs_heap_size_used_bytes'), legend: '{{instance}} JavaScript' },
          ],
        },
        {
          title: 'Processor',
          description: 'Seconds of CPU time a second.',
          type: 'timeseries',
          unit: 'short',
          width: 8,
          queries: [{ expr: `rate(process_cpu_seconds_total{${ofJob}}[$__rate_interval])`, legend: '{{instance}}' }],
        },
        {
          title: 'Event loop lag',
          description: 'Slowest of a hundred turns. The lease is renewed within 10 s: more than a second is a fault.',
          type: 'timeseries',
          unit: 's',
          width: 8,
          queries: [{ expr: ofJobOnly('nodejs_eventloop_lag_p99_seconds'), legend: '{{instance}}' }],
        },
      ],
    },
  ],
};

function ofJobOnly(name: string): string {
  return `${name}{${ofJob}}`;
}
