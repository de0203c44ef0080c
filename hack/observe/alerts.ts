// The alerts: few, and each asks somebody to do something. docs/runbooks has a page for each.
import { leads, ofLeader } from './leader.ts';

interface Alert {
  readonly name: string;
  /** How long it must hold. */
  readonly for: string;
  /** critical: somebody is to be woken. */
  readonly severity: 'critical' | 'warning';
  readonly expr: string;
  readonly summary: string;
  readonly description: string;
}

/** Where the pages are published; the chart's value alerts.runbooks takes its place. */
export const runbooks = 'https://windlass.dev/docs/runbooks';

const job = 'namespace, trainingjob';
const service = 'namespace, inferenceservice';
const ofJob = (name: string) => `max by (${job}) (windlass_trainingjob_${name})`;
const inState = (states: string) => `max by (${job}) (windlass_trainingjob_state{state=~"${states}"}) == 1`;
const ofService = (name: string) => `max by (${service}) (windlass_inferenceservice_${name})`;
const because = (kind: string) =>
  `* on (namespace, ${kind}) group_left (reason) max by (namespace, ${kind}, reason) (windlass_${kind}_reason)`;

const requests = (more = '') => ofLeader(`rate(rest_client_requests_total{${more}}[5m])`);
/** Refusals that are no fault of the client. */
const failedRequests = 'windlass_request_errors_total{code!~"WL_(REQUEST_.*|PROMPT_TOO_LONG|OBJECT_NOT_FOUND)"}';
const expiry = 'windlass_certificate_expiry_timestamp_seconds';

const operator: readonly Alert[] = [
  {
    name: 'WindlassNoLeader',
    for: '2m',
    severity: 'critical',
    expr: `absent(${leads()} == 1)`,
    summary: 'No Windlass operator leads',
    description:
      'No operator holds the lease, or none can be read. Pods go on; nobody makes, restarts, publishes or scales anything.',
  },
  {
    name: 'WindlassOperatorRestarts',
    for: '0m',
    severity: 'warning',
    expr: `changes(process_start_time_seconds[30m]) > 3 and on (job, instance) ${leads()}`,
    summary: 'The Windlass operator starts again and again',
    description: '{{ $labels.instance }} started {{ $value | humanize }} times within 30 minutes.',
  },
  {
    name: 'WindlassReconcileErrors',
    for: '10m',
    severity: 'warning',
    expr: `sum by (controller) (${ofLeader('rate(controller_runtime_reconcile_errors_total[5m])')}) / (sum by (controller) (${ofLeader('rate(controller_runtime_reconcile_total[5m])')}) > 0) > 0.1`,
    summary: 'Reconciles of {{ $labels.controller }} fail',
    description: '{{ $value | humanizePercentage }} of the reconciles of {{ $labels.controller }} end in an error.',
  },
  {
    name: 'WindlassQueueStuck',
    for: '5m',
    severity: 'critical',
    expr: `max by (controller) (${ofLeader('workqueue_longest_running_processor_seconds')}) > 300 or (sum by (controller) (${ofLeader('workqueue_depth')}) > 0 and sum by (controller) (${ofLeader('rate(controller_runtime_reconcile_total[5m])')}) == 0)`,
    summary: 'The queue of {{ $labels.controller }} does not move',
    description: 'A reconcile of {{ $labels.controller }} does not end, or objects wait and none is looked at.',
  },
  {
    name: 'WindlassApiThrottled',
    for: '10m',
    severity: 'warning',
    expr: `sum(${requests('code="429"')}) / sum(${requests()}) > 0.05`,
    summary: 'The API server puts requests of the operator off',
    description: '{{ $value | humanizePercentage }} of the requests are refused by flow control and tried again.',
  },
  {
    name: 'WindlassApiErrors',
    for: '10m',
    severity: 'warning',
    expr: `sum(${requests('code=~"5..|<error>"')}) / sum(${requests()}) > 0.1`,
    summary: 'The API server does not answer the operator as it should',
    description: '{{ $value | humanizePercentage }} of the requests end in a fault of the server or without an answer.',
  },
  {
    name: 'WindlassBusAway',
    for: '5m',
    severity: 'warning',
    expr: `min by (server) (${ofLeader('windlass_bus_connected')}) == 0`,
    summary: 'The message bus is away',
    description: '{{ $labels.server }} can not be reached. Training goes on; status shows no steps, loss or speed.',
  },
  {
    name: 'WindlassCertificateExpires',
    for: '5m',
    severity: 'critical',
    expr: `min by (certificate) (${expiry} - time() < (${expiry} - windlass_certificate_renewal_timestamp_seconds) / 2)`,
    summary: 'The certificate of the {{ $labels.certificate }} expires and is not renewed',
    description:
      'It expires in {{ $value | humanizeDuration }}: half of the time in which the operator should have renewed it has passed.',
  },
];

const training: readonly Alert[] = [
  {
    name: 'WindlassJobStalled',
    for: '5m',
    severity: 'warning',
    expr: `max by (${job}) (changes(windlass_trainingjob_step[15m])) == 0 and on (${job}) max by (${job}) (min_over_time(windlass_trainingjob_state{state="Running"}[15m])) == 1 unless on (${job}) max by (${job}) (changes(windlass_trainingjob_phase_ratio[15m])) > 0`,
    summary: 'TrainingJob {{ $labels.namespace }}/{{ $labels.trainingjob }} makes no step',
    description: 'It runs, and neither its step nor its phase has changed for 15 minutes.',
  },
  {
    name: 'WindlassJobRestarts',
    for: '0m',
    severity: 'warning',
    expr: `max by (${job}) (increase(windlass_trainingjob_restarts_total[1h])) >= 3 and on (${job}) ${inState('Starting|Running|Restarting')}`,
    summary: 'TrainingJob {{ $labels.namespace }}/{{ $labels.trainingjob }} fails again and again',
    description: 'It was restarted {{ $value | humanize }} times within an hour after faults.',
  },
  {
    name: 'WindlassJobFailed',
    for: '0m',
    severity: 'warning',
    expr: `time() - ${ofJob('completion_timestamp_seconds')} < 3600 and on (${job}) ${inState('Failed')}`,
    summary: 'TrainingJob {{ $labels.namespace }}/{{ $labels.trainingjob }} failed',
    description: 'It has ended for good. Its condition Failed says why and what to do. This alert ends by itself after an hour.',
  },
  {
    name: 'WindlassJobGoodputLow',
    for: '15m',
    severity: 'warning',
    expr: `${ofJob('goodput_ratio')} < 0.5 and on (${job}) time() - ${ofJob('start_timestamp_seconds')} > 3600 and on (${job}) ${inState('Running')}`,
    summary: 'TrainingJob {{ $labels.namespace }}/{{ $labels.trainingjob }} loses more time than it uses',
    description: 'Only {{ $value | humanizePercentage }} of its time since the start went into new steps.',
  },
  {
    name: 'WindlassJobCheckpointOld',
    for: '10m',
    severity: 'warning',
    expr: `${ofJob('step')} - (${ofJob('checkpoint_step')} or ${ofJob('step')} * 0) > 3 * ${ofJob('checkpoint_interval_steps')} and on (${job}) ${inState('Running')}`,
    summary: 'TrainingJob {{ $labels.namespace }}/{{ $labels.trainingjob }} has no new checkpoint',
    description:
      '{{ $value | humanize }} steps were made since the newest checkpoint: three times what spec.checkpoint asks for. A fault would lose them.',
  },
  {
    name: 'WindlassJobWaits',
    for: '15m',
    severity: 'warning',
    expr: `(${inState('Pending|Starting')}) ${because('trainingjob')}`,
    summary: 'TrainingJob {{ $labels.namespace }}/{{ $labels.trainingjob }} does not start',
    description: 'Its pods are not all there: {{ $labels.reason }}.',
  },
];

const serving: readonly Alert[] = [
  {
    name: 'WindlassServiceNotReady',
    for: '10m',
    severity: 'critical',
    expr: `((${ofService('ready')} == 0 and ${ofService('replicas_wanted')} > 0) + 1) ${because('inferenceservice')}`,
    summary: 'InferenceService {{ $labels.namespace }}/{{ $labels.inferenceservice }} does not answer',
    description: 'No pod is ready: {{ $labels.reason }}.',
  },
  {
    name: 'WindlassServiceRolloutStuck',
    for: '30m',
    severity: 'warning',
    expr: `((${ofService('reconciling')} == 1 or ${ofService('stalled')} == 1) and ${ofService('ready')} == 1) ${because('inferenceservice')}`,
    summary: 'InferenceService {{ $labels.namespace }}/{{ $labels.inferenceservice }} does not come to what is asked for',
    description: 'It answers, but with an older version or fewer pods: {{ $labels.reason }}.',
  },
  {
    name: 'WindlassServingErrors',
    for: '5m',
    severity: 'critical',
    expr: `sum by (${service}) (rate(${failedRequests}[5m])) / (sum by (${service}) (rate(${failedRequests}[5m])) + sum by (${service}) (rate(vllm:request_success_total[5m]))) > 0.05`,
    summary: 'InferenceService {{ $labels.namespace }}/{{ $labels.inferenceservice }} fails requests',
    description: '{{ $value | humanizePercentage }} of its requests fail or are refused, faults of clients not counted.',
  },
  {
    name: 'WindlassServingSlow',
    for: '10m',
    severity: 'warning',
    expr: `histogram_quantile(0.95, sum by (le, ${service}) (rate(vllm:time_to_first_token_seconds_bucket[5m]))) > 10`,
    summary: 'InferenceService {{ $labels.namespace }}/{{ $labels.inferenceservice }} answers slowly',
    description: 'One request of twenty waits more than {{ $value | humanizeDuration }} for its first token.',
  },
  {
    name: 'WindlassServingQueue',
    for: '10m',
    severity: 'warning',
    expr: `sum by (${service}) (vllm:num_requests_waiting) > sum by (${service}) (vllm:num_requests_running)`,
    summary: 'Requests queue at InferenceService {{ $labels.namespace }}/{{ $labels.inferenceservice }}',
    description: 'More requests wait ({{ $value | humanize }}) than are generated for.',
  },
  {
    name: 'WindlassKvCacheFull',
    for: '10m',
    severity: 'warning',
    expr: `min by (${service}) (vllm:kv_cache_usage_perc) > 0.95`,
    summary: 'The KV cache of InferenceService {{ $labels.namespace }}/{{ $labels.inferenceservice }} is full',
    description:
      'All its pods hold more than {{ $value | humanizePercentage }} of their cache blocks: sequences wait or are set back.',
  },
];

export const alertGroups = { operator, training, serving } as const;

/** The file of rules that Prometheus takes. */
export function ruleFile(): object {
  return {
    groups: Object.entries(alertGroups).map(([group, alerts]) => ({
      name: `windlass-${group}`,
      rules: alerts.map(({ name, expr, severity, summary, description, for: time }) => ({
        alert: name,
        expr,
        for: time,
        labels: { severity },
        annotations: { summary, description, runbook_url: `${runbooks}/${name}.md` },
      })),
    })),
  };
}
