// What can go wrong, made of what was recorded when nothing did: one fault or more for each alert.
import type { Series } from '../../../hack/observe/recording.ts';
import type { Change } from './lasting.ts';

export interface Fault {
  readonly alert: string;
  /** Ends the sentence "it fires when ...". */
  readonly what: string;
  /** The moment at which it begins: when this series is above this value. */
  readonly from: { readonly name: string; readonly labels?: Record<string, string>; readonly above?: number };
  readonly changes: readonly Change[];
}

const named =
  (name: string, labels: Readonly<Record<string, string>> = {}) =>
  (series: Series): boolean =>
    series.name === name && Object.entries(labels).every(([label, value]) => series.labels[label] === value);
const startsWith = (prefix: string) => (series: Series) => series.name.startsWith(prefix);

const is = (of: Change['of'], value: number): Change => ({ of, value: () => value });
const gone = (of: Change['of']): Change => ({ of, value: () => undefined });
const frozen = (of: Change['of']): Change => ({ of, value: ({ held }) => held });
/** Counts up from what it was. */
const rising = (of: Change['of'], perSecond: number): Change => ({
  of,
  value: ({ held = 0, seconds }) => held + seconds * perSecond,
});
const another = (of: Change['of'], as: Record<string, string>, value: Change['value']): Change => ({ of, as, value });

const leading = { name: 'leader_election_master_status' };
const running = { name: 'windlass_trainingjob_step', above: 5 };
const asked = { name: 'vllm:request_success_total', labels: { finished_reason: 'length' }, above: 3 };
const serving = { name: 'windlass_inferenceservice_ready' };

const state = (wanted: string): Change => ({
  of: named('windlass_trainingjob_state'),
  value: ({ series }) => (series.labels['state'] === wanted ? 1 : 0),
});
/** One reason, in the place of those that were recorded. */
const reason = (kind: string, wanted: string): Change[] => [
  another(
    named(`windlass_${kind}_reason`, { reason: kind === 'trainingjob' ? 'Running' : 'Serving' }),
    { reason: wanted },
    () => 1,
  ),
  gone(startsWith(`windlass_${kind}_reason`)),
];
const certificate = (what: 'expiry' | 'renewal', of: string) =>
  named(`windlass_certificate_${what}_timestamp_seconds`, { certificate: of });
const jobs = startsWith('windlass_trainingjob_');
const services = startsWith('windlass_inferenceservice_');
const answered = named('rest_client_requests_total', { code: '200', method: 'GET' });

export const faults: readonly Fault[] = [
  { alert: 'WindlassNoLeader', what: 'no operator can be read', from: leading, changes: [gone(() => true)] },
  {
    alert: 'WindlassNoLeader',
    what: 'the operators run and none gets the lease',
    from: leading,
    changes: [is(named('leader_election_master_status'), 0)],
  },
  {
    alert: 'WindlassOperatorRestarts',
    what: 'an operator starts every three minutes',
    from: leading,
    changes: [{ of: named('process_start_time_seconds'), value: ({ seconds }) => seconds - (seconds % 180) }],
  },
  {
    alert: 'WindlassReconcileErrors',
    what: 'every second reconcile fails',
    from: leading,
    changes: [
      rising(named('controller_runtime_reconcile_errors_total', { controller: 'trainingjob' }), 1),
      rising(named('controller_runtime_reconcile_total', { controller: 'trainingjob', result: 'success' }), 2),
    ],
  },
  {
    alert: 'WindlassQueueStuck',
    what: 'a reconcile never ends',
    from: leading,
    changes: [rising(named('workqueue_longest_running_processor_seconds', { controller: 'trainingjob' }), 1)],
  },
  {
    alert: 'WindlassQueueStuck',
    what: 'objects wait and nobody looks at them',
    from: leading,
    changes: [is(named('workqueue_depth', { priority: '0' }), 4), frozen(startsWith('controller_runtime_'))],
  },
  {
    alert: 'WindlassApiThrottled',
    what: 'the API server puts off one request of three',
    from: leading,
    changes: [another(answered, { code: '429' }, ({ seconds }) => seconds), rising(answered, 2)],
  },
  {
    alert: 'WindlassApiErrors',
    what: 'the API server answers one request of three with a fault',
    from: leading,
    changes: [another(answered, { code: '503' }, ({ seconds }) => seconds), rising(answered, 2)],
  },
  {
    alert: 'WindlassApiErrors',
    what: 'nothing is answered at all',
    from: leading,
    changes: [another(answered, { code: '<error>' }, ({ seconds }) => seconds), frozen(startsWith('rest_client_'))],
  },
  { alert: 'WindlassBusAway', what: 'the bus goes', from: leading, changes: [is(named('windlass_bus_connected'), 0)] },
  {
    alert: 'WindlassCertificateExpires',
    what: 'the certificate of the credentials service is due for two hours and has one left',
    from: leading,
    changes: [
      { of: certificate('expiry', 'credentials'), value: ({ start }) => start + 3600 },
      { of: certificate('renewal', 'credentials'), value: ({ start }) => start - 7200 },
    ],
  },
  {
    alert: 'WindlassCertificateExpires',
    what: 'the authority has expired',
    from: leading,
    changes: [
      { of: certificate('expiry', 'authority'), value: ({ start }) => start - 60 },
      { of: certificate('renewal', 'authority'), value: ({ start }) => start - 7200 },
    ],
  },
  {
    alert: 'WindlassJobStalled',
    what: 'a job hangs in the middle of its steps',
    from: running,
    changes: [state('Running'), frozen(jobs)],
  },
  {
    alert: 'WindlassJobRestarts',
    what: 'a job is restarted every ten minutes',
    from: running,
    changes: [
      { of: named('windlass_trainingjob_restarts_total'), value: ({ held = 0, seconds }) => held + Math.floor(seconds / 600) },
      state('Running'),
    ],
  },
  {
    alert: 'WindlassJobFailed',
    what: 'a job ends for good',
    from: running,
    changes: [state('Failed'), { of: named('windlass_trainingjob_completion_timestamp_seconds'), value: ({ start }) => start }],
  },
  {
    alert: 'WindlassJobGoodputLow',
    what: 'most of the time goes into restarts',
    from: running,
    changes: [
      state('Running'),
      is(named('windlass_trainingjob_goodput_ratio'), 0.3),
      { of: named('windlass_trainingjob_start_timestamp_seconds'), value: ({ start }) => start - 3600 },
    ],
  },
  {
    alert: 'WindlassJobCheckpointOld',
    what: 'steps go on and checkpoints do not',
    from: running,
    changes: [
      state('Running'),
      rising(named('windlass_trainingjob_step'), 1),
      frozen(named('windlass_trainingjob_checkpoint_step')),
      { of: named('windlass_trainingjob_checkpoint_interval_steps'), value: ({ held }) => held },
    ],
  },
  {
    alert: 'WindlassJobWaits',
    what: 'no node takes the pods of a job',
    from: running,
    changes: [state('Starting'), ...reason('trainingjob', 'Unschedulable')],
  },
  {
    alert: 'WindlassServiceNotReady',
    what: 'the engine of a service ends again and again',
    from: serving,
    changes: [is(named('windlass_inferenceservice_ready'), 0), ...reason('inferenceservice', 'EngineFailed'), frozen(services)],
  },
  {
    alert: 'WindlassServiceRolloutStuck',
    what: 'the pods of the next version never become ready',
    from: serving,
    changes: [
      is(named('windlass_inferenceservice_reconciling'), 1),
      ...reason('inferenceservice', 'PodsStarting'),
      frozen(services),
    ],
  },
  {
    alert: 'WindlassServiceRolloutStuck',
    what: 'the next version can not be loaded',
    from: serving,
    changes: [is(named('windlass_inferenceservice_stalled'), 1), ...reason('inferenceservice', 'EngineFailed'), frozen(services)],
  },
  {
    alert: 'WindlassServingErrors',
    what: 'one request of five fails by a fault of the engine',
    from: asked,
    changes: [
      another(
        named('windlass_request_errors_total', { code: 'WL_REQUEST_INVALID' }),
        { code: 'WL_INTERNAL' },
        ({ seconds }) => seconds,
      ),
      rising(named('vllm:request_success_total', { finished_reason: 'length' }), 4),
    ],
  },
  {
    alert: 'WindlassServingSlow',
    what: 'first tokens take a quarter of a minute',
    from: asked,
    changes: [
      {
        of: named('vllm:time_to_first_token_seconds_bucket'),
        value: ({ held = 0, seconds, series }) => held + (Number(series.labels['le']?.replace('+Inf', '1e9')) > 15 ? seconds : 0),
      },
    ],
  },
  {
    alert: 'WindlassServingQueue',
    what: 'more requests come than are answered',
    from: asked,
    changes: [is(named('vllm:num_requests_running'), 16), rising(named('vllm:num_requests_waiting'), 1)],
  },
  {
    alert: 'WindlassKvCacheFull',
    what: 'answers are long and the cache is small',
    from: asked,
    changes: [is(named('vllm:kv_cache_usage_perc'), 1)],
  },
];
