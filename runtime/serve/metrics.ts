// The engine's counts and times as Prometheus metrics, under the names that dashboards for vLLM know.
import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';
import type { EngineObserver, EngineStats } from '#runtime/engine/main.ts';

const latencyBuckets = [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80];
const tokenBuckets = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000];

export interface ServerMetrics {
  readonly observer: EngineObserver;
  /** A request was refused or failed with this code. */
  refused(code: string): void;
  readonly registry: Registry;
  /** Content type and text of /metrics. */
  expose(): Promise<{ readonly type: string; readonly text: string }>;
}

/** A registry of its own. `stats` gives the engine's counts, or undefined while there is no engine. */
export function createMetrics(model: string, stats: () => EngineStats | undefined): ServerMetrics {
  const registry = new Registry();
  registry.setDefaultLabels({ model_name: model });
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  const gauge = (name: string, help: string, value: (stats: EngineStats) => number) =>
    new Gauge({ name, help, registers, collect: read((gauge: Gauge, stats) => gauge.set(value(stats)), stats) });
  const counter = (name: string, help: string, value: (stats: EngineStats) => number) =>
    new Counter({
      name,
      help,
      registers,
      collect: read((counter: Counter, stats) => {
        counter.reset();
        counter.inc(value(stats));
      }, stats),
    });
  const histogram = (name: string, help: string, buckets = latencyBuckets) => new Histogram({ name, help, buckets, registers });

  gauge('vllm:num_requests_running', 'Sequences that hold cache blocks.', ({ running }) => running);
  gauge('vllm:num_requests_waiting', 'Sequences that wait for cache blocks.', ({ waiting }) => waiting);
  gauge('vllm:kv_cache_usage_perc', 'Share of the cache blocks that sequences hold, 0 to 1.', (s) => s.usedBlocks / s.blocks);
  const cache = new Gauge({
    name: 'windlass_kv_cache_bytes',
    help: 'Memory of the cache of keys and values, by what it keeps them as.',
    labelNames: ['cache_type'],
    registers: [],
    collect: read((gauge: Gauge<'cache_type'>, { cacheType, cacheBytes }) => {
      gauge.set({ cache_type: cacheType }, cacheBytes);
    }, stats),
  });
  registry.registerMetric(cache);
  counter('vllm:prefix_cache_queries_total', 'Tokens looked up in the prefix cache.', ({ prefixQueries }) => prefixQueries);
  counter('vllm:prefix_cache_hits_total', 'Tokens found in the prefix cache.', ({ prefixHits }) => prefixHits);
  counter('vllm:num_preemptions_total', 'Times that a sequence lost its blocks.', ({ preemptions }) => preemptions);
  counter('vllm:prompt_tokens_total', 'Prompt tokens evaluated or found in the cache.', ({ promptTokens }) => promptTokens);
  counter('vllm:generation_tokens_total', 'Tokens generated.', ({ generationTokens }) => generationTokens);
  counter('vllm:spec_decode_num_drafts_total', 'Steps of a sequence with guesses.', ({ drafts }) => drafts);
  counter('vllm:spec_decode_num_draft_tokens_total', 'Tokens guessed.', ({ draftTokens }) => draftTokens);
  counter('vllm:spec_decode_num_accepted_tokens_total', 'Guesses that were right.', (s) => s.acceptedTokens);
  const finished = new Counter({
    name: 'vllm:request_success_total',
    help: 'Completions by how they ended.',
    labelNames: ['finished_reason'],
    registers: [],
    collect: read((counter: Counter<'finished_reason'>, { finished }) => {
      counter.reset();
      for (const [reason, count] of Object.entries(finished)) counter.inc({ finished_reason: reason }, count);
    }, stats),
  });
  registry.registerMetric(finished);
  const refusals = new Counter({
    name: 'windlass_request_errors_total',
    help: 'Requests that were refused or failed, by error code.',
    labelNames: ['code'],
    registers,
  });
  const firstToken = histogram('vllm:time_to_first_token_seconds', 'Arrival to first token.');
  const nextToken = histogram('vllm:inter_token_latency_seconds', 'Time from one token to the next.');
  const whole = histogram('vllm:e2e_request_latency_seconds', 'Arrival to end of a completion.');
  const promptTokens = histogram('vllm:request_prompt_tokens', 'Prompt tokens of a completion.', tokenBuckets);
  const generated = histogram('vllm:request_generation_tokens', 'Generated tokens of a completion.', tokenBuckets);

  return {
    observer: {
      firstToken: (seconds) => firstToken.observe(seconds),
      nextToken: (seconds) => nextToken.observe(seconds),
      finished(_reason, seconds, sequence) {
        whole.observe(seconds);
        promptTokens.observe(sequence.promptLength);
        generated.observe(sequence.tokens.length - sequence.promptLength);
      },
    },
    registry,
    refused: (code) => refusals.inc({ code }),
    expose: async () => ({ type: registry.contentType, text: await registry.metrics() }),
  };
}

/** A `collect` function that reads the engine's counts when there are any. */
function read<M>(set: (metric: M, stats: EngineStats) => void, stats: () => EngineStats | undefined): (this: M) => void {
  return function collect() {
    const now = stats();
    if (now) set(this, now);
  };
}
