// The dashboard of serving: whether each service answers, how fast, how much, and what keeps it from doing better.
import type { Dashboard, Panel } from './dashboard.ts';

const ofService = 'namespace=~"$namespace",inferenceservice=~"$inferenceservice"';
const by = 'namespace, inferenceservice';
const legend = '{{namespace}}/{{inferenceservice}}';
const figure = (name: string) => `max by (${by}) (windlass_inferenceservice_${name}{${ofService}})`;
const rate = (name: string, more = '') => `rate(${name}{${ofService}${more}}[$__rate_interval])`;

const quantiles = (title: string, description: string, name: string): Panel => ({
  title,
  description,
  type: 'timeseries',
  unit: 's',
  width: 8,
  queries: [0.5, 0.95].map((q) => ({
    expr: `histogram_quantile(${q}, sum by (le, ${by}) (${rate(`vllm:${name}_bucket`)}))`,
    legend: `${legend} p${q * 100}`,
  })),
});

const lines = (panel: Pick<Panel, 'title' | 'description' | 'unit' | 'queries' | 'max'> & { width?: number }): Panel => ({
  type: 'timeseries',
  width: 8,
  ...panel,
});

export const servingDashboard: Dashboard = {
  name: 'serving',
  title: 'Windlass / Serving',
  description: 'Whether each InferenceService answers, how fast, how much, and what keeps it from doing better.',
  variables: [
    { name: 'namespace', label: 'Namespace', of: 'windlass_inferenceservice_info' },
    { name: 'inferenceservice', label: 'Service', of: 'windlass_inferenceservice_info{namespace=~"$namespace"}' },
  ],
  rows: [
    {
      title: 'At a glance',
      panels: [
        {
          title: 'Services',
          description: 'Whether each service is ready, and why it is or is not.',
          type: 'table',
          unit: 'short',
          width: 8,
          queries: [
            {
              expr: `${figure('ready')} * on (${by}) group_left (reason) max by (${by}, reason) (windlass_inferenceservice_reason{${ofService}})`,
              legend,
            },
          ],
        },
        lines({
          title: 'Replicas',
          description: 'Pods that answer, and those that are asked for.',
          unit: 'short',
          queries: [
            { expr: figure('replicas_ready'), legend: `${legend} ready` },
            { expr: figure('replicas_wanted'), legend: `${legend} wanted` },
          ],
        }),
        lines({
          title: 'Failed requests',
          description: 'Share of requests that failed or were refused, faults of clients not counted.',
          unit: 'percentunit',
          queries: [
            {
              expr: `(sum by (${by}) (${rate('windlass_request_errors_total', ',code!~"WL_(REQUEST_.*|PROMPT_TOO_LONG|OBJECT_NOT_FOUND)"')}) or sum by (${by}) (${rate('vllm:request_success_total')}) * 0) / (sum by (${by}) (${rate('vllm:request_success_total')}) > 0)`,
              legend,
            },
          ],
        }),
        quantiles('Time to the first token', 'From the arrival of a request.', 'time_to_first_token_seconds'),
        quantiles('Time between tokens', 'What a reader of a stream sees.', 'inter_token_latency_seconds'),
        quantiles('Time of a request', 'From its arrival to its end.', 'e2e_request_latency_seconds'),
      ],
    },
    {
      title: 'Load',
      panels: [
        lines({
          title: 'Completions',
          description: 'A second, by how they ended.',
          unit: 'reqps',
          queries: [
            {
              expr: `sum by (${by}, finished_reason) (${rate('vllm:request_success_total')})`,
              legend: `${legend} {{finished_reason}}`,
            },
          ],
        }),
        lines({
          title: 'Tokens',
          description: 'A second: of prompts, and generated.',
          unit: 'short',
          queries: [
            { expr: `sum by (${by}) (${rate('vllm:prompt_tokens_total')})`, legend: `${legend} prompt` },
            { expr: `sum by (${by}) (${rate('vllm:generation_tokens_total')})`, legend: `${legend} generated` },
          ],
        }),
        lines({
          title: 'Errors',
          description: 'Requests that failed or were refused, by code; docs/errors.md has the remedies.',
          unit: 'reqps',
          queries: [{ expr: `sum by (${by}, code) (${rate('windlass_request_errors_total')})`, legend: `${legend} {{code}}` }],
        }),
        lines({
          title: 'Sequences',
          description: 'Those that are generated for, and those that wait for cache blocks.',
          unit: 'short',
          queries: [
            { expr: `sum by (${by}) (vllm:num_requests_running{${ofService}})`, legend: `${legend} running` },
            { expr: `sum by (${by}) (vllm:num_requests_waiting{${ofService}})`, legend: `${legend} waiting` },
          ],
        }),
        lines({
          title: 'Length of prompts and answers',
          description: 'Mean number of tokens.',
          unit: 'short',
          queries: ['prompt', 'generation'].map((what) => ({
            expr: `sum by (${by}) (${rate(`vllm:request_${what}_tokens_sum`)}) / (sum by (${by}) (${rate(`vllm:request_${what}_tokens_count`)}) > 0)`,
            legend: `${legend} ${what}`,
          })),
        }),
        lines({
          title: 'Versions',
          description: 'Versions that each model has.',
          unit: 'short',
          queries: [
            {
              expr: 'max by (namespace, model) (windlass_model_versions{namespace=~"$namespace"})',
              legend: '{{namespace}}/{{model}}',
            },
          ],
        }),
      ],
    },
    {
      title: 'Cache and machine',
      panels: [
        lines({
          title: 'KV cache in use',
          description: 'Share of the blocks that sequences hold, of the fullest pod. At 100 %, sequences wait or are set back.',
          unit: 'percentunit',
          max: 1,
          queries: [{ expr: `max by (${by}) (vllm:kv_cache_usage_perc{${ofService}})`, legend }],
        }),
        lines({
          title: 'Found in the prefix cache',
          description: 'Share of the tokens looked up that need not be evaluated.',
          unit: 'percentunit',
          max: 1,
          queries: [
            {
              expr: `sum by (${by}) (${rate('vllm:prefix_cache_hits_total')}) / (sum by (${by}) (${rate('vllm:prefix_cache_queries_total')}) > 0)`,
              legend,
            },
          ],
        }),
        lines({
          title: 'Set back',
          description: 'Sequences a second that lost their blocks to others and begin again.',
          unit: 'ops',
          queries: [{ expr: `sum by (${by}) (${rate('vllm:num_preemptions_total')})`, legend }],
        }),
        lines({
          title: 'Memory',
          description: 'Resident memory of each engine.',
          unit: 'bytes',
          queries: [{ expr: `process_resident_memory_bytes{${ofService}}`, legend: '{{pod}}' }],
        }),
        lines({
          title: 'Processor',
          description: 'Seconds of CPU time a second, of each engine.',
          unit: 'short',
          queries: [{ expr: rate('process_cpu_seconds_total'), legend: '{{pod}}' }],
        }),
        lines({
          title: 'Event loop lag',
          description: 'Slowest of a hundred turns, of each engine.',
          unit: 's',
          queries: [{ expr: `nodejs_eventloop_lag_p99_seconds{${ofService}}`, legend: '{{pod}}' }],
        }),
      ],
    },
  ],
};
