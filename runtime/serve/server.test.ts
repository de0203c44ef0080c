// The server over HTTP beside its protocols: clients that leave, readiness, draining, metrics and logs.
import { connect } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { byteCodec, readAnswer, readEvents, startTestServer } from './testing.ts';
import type { TestServer } from './testing.ts';

const running: TestServer[] = [];
async function start(...args: Parameters<typeof startTestServer>): Promise<TestServer> {
  const server = await startTestServer(...args);
  running.push(server);
  return server;
}
afterEach(async () => {
  for (const server of running.splice(0)) {
    await server.close();
    expect(server.engine.checkBlocks().used).toBe(0);
  }
});

async function until(holds: () => boolean): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (!holds()) {
    if (Date.now() > deadline) throw new Error('the condition did not come true within 60 s');
    await turn();
  }
}

describe('a client that leaves', () => {
  const body = JSON.stringify({ prompt: 'abcdefgh', max_tokens: 100, stream: true });
  const head = `POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n`;

  it('frees its cache blocks while the step is in flight', async () => {
    const holds: (() => void)[] = [];
    const { url, engine, runner } = await start({ beforeResults: () => new Promise((resolve) => holds.push(resolve)) });
    const socket = connect(Number(new URL(url).port), '127.0.0.1');
    socket.write(head + body);
    await until(() => runner.steps.length === 1);
    expect(engine.stats().usedBlocks).toBe(2);
    socket.destroy();
    await until(() => engine.stats().finished.abort === 1);
    expect(engine.stats().usedBlocks).toBe(0);
    for (const release of holds) release();
    await until(() => engine.stats().steps === 1);
    expect(runner.steps).toHaveLength(1);
  });

  it('ends a whole answer, all completions of it', async () => {
    const holds: (() => void)[] = [];
    const { post, engine, runner } = await start({ beforeResults: () => new Promise((resolve) => holds.push(resolve)) });
    const controller = new AbortController();
    const answer = post('/v1/completions', { prompt: ['a', 'b'], n: 2, max_tokens: 50 }, { signal: controller.signal });
    const gone = expect(answer).rejects.toThrow();
    await until(() => runner.steps.length === 1);
    controller.abort();
    await gone;
    await until(() => engine.stats().finished.abort === 4);
    expect(engine.stats()).toMatchObject({ usedBlocks: 0, running: 0 });
    for (const release of holds) release();
  });

  it('is cut off when it reads nothing for too long, and buffers no more than the socket holds', async () => {
    const next = () => 120;
    const { url, engine, logLines } = await start({
      next,
      blocks: 40_000,
      engineLimits: { contextLength: 150_000 },
      limits: { stalledReaderMs: 50 },
    });
    const long = JSON.stringify({ prompt: 'abcdefgh', max_tokens: 140_000, stream: true });
    const socket = connect(Number(new URL(url).port), '127.0.0.1');
    socket.pause();
    socket.on('error', () => {});
    socket.write(head.replace(/content-length: \d+/, `content-length: ${long.length}`) + long);
    await until(() => engine.stats().finished.abort === 1);
    expect(engine.stats()).toMatchObject({ usedBlocks: 0, running: 0 });
    await until(() => logLines.join('').includes('"status":499'));
    socket.destroy();
  });
});

describe('readiness', () => {
  it('refuses requests while the model is loading', async () => {
    const { get, post, server, engine } = await start({ loading: true });
    expect((await get('/health')).status).toBe(200);
    const ready = await get('/ready');
    expect([ready.status, ready.headers.get('retry-after')]).toEqual([503, '1']);
    const response = await post('/v1/completions', { prompt: 'a' });
    expect(response.status).toBe(503);
    expect((await readAnswer(response)).error.code).toBe('WL_LOADING');
    server.serve({ engine, codec: byteCodec });
    expect((await get('/ready')).status).toBe(200);
  });

  it('finishes running streams while draining, and refuses new requests', async () => {
    const { get, post, server, engine } = await start();
    const response = await post('/v1/completions', { prompt: 'abc', max_tokens: 60, stream: true });
    server.drain();
    const refused = await post('/v1/completions', { prompt: 'a' });
    expect([refused.status, refused.headers.get('retry-after'), refused.headers.get('connection')]).toEqual([503, '1', 'close']);
    expect((await readAnswer(refused)).error.code).toBe('WL_DRAINING');
    expect((await get('/ready')).status).toBe(503);
    expect((await get('/health')).status).toBe(200);
    await engine.drain();
    const { events, done } = await readEvents(response);
    expect(done).toBe(true);
    expect(
      events

        .map((event) => event.choices[0]!.text)
        .join(''),
    ).toHaveLength(60);
  });

  it('while leaving answers on, says 503 to probes, and ends each connection with its next answer or when it is idle', async () => {
    const { get, post, server } = await start();
    const running = await post('/v1/completions', { prompt: 'abc', max_tokens: 40, stream: true });
    server.leave();
    expect((await get('/ready')).status).toBe(503);
    const response = await post('/v1/completions', { prompt: 'abc', max_tokens: 2 });
    expect([response.status, response.headers.get('connection')]).toEqual([200, 'close']);
    expect(running.headers.get('connection')).toBe('keep-alive');
    expect((await readEvents(running)).done).toBe(true);
    const stream = await post('/v1/completions', { prompt: 'abc', max_tokens: 4, stream: true });
    expect(stream.headers.get('connection')).toBe('close');
    expect((await readEvents(stream)).done).toBe(true);
    // Its answer had begun before: the client may send the next request on it at any time.
    server.connections.closeIdle(60_000);
    const next = await post('/v1/completions', { prompt: 'abc', max_tokens: 2 });
    expect([next.status, next.headers.get('connection')]).toEqual([200, 'close']);
    await expect
      .poll(() => {
        server.connections.closeIdle(0);
        return server.connections.count;
      })
      .toBe(0);
  });

  it('reports a dead engine: 500 on every route that needs it, and on /health', async () => {
    const { get, post } = await start({ beforeResults: () => Promise.reject(new Error('secret detail')) });
    const response = await post('/v1/completions', { prompt: 'a' });
    expect(response.status).toBe(500);
    expect(await response.text()).not.toContain('secret');
    expect((await get('/health')).status).toBe(500);
    expect((await get('/ready')).status).toBe(500);
  });

  it('sends the error as the last event when a stream breaks', async () => {
    let steps = 0;
    const { post } = await start({
      async beforeResults() {
        await turn();
        steps += 1;
        if (steps > 3) throw new Error('device gone');
      },
    });
    const { events, done } = await readEvents(post('/v1/completions', { prompt: 'abc', max_tokens: 9, stream: true }));
    expect(done).toBe(false);
    expect(events.at(-1)).toEqual({ error: expect.objectContaining({ type: 'server_error', code: 'WL_INTERNAL' }) });
    expect(
      'abc'.startsWith(
        events
          .slice(0, -1)
          .map((event) => event.choices[0]!.text)
          .join(''),
      ),
    ).toBe(true);
  });
});

describe('what the server tells about itself', () => {
  it('answers to another name of its model too, under its own', async () => {
    const { post, get } = await start();
    const response = await post('/v1/completions', { model: 'tiny-model', prompt: 'hello', max_tokens: 2 });
    expect([response.status, await response.json()]).toMatchObject([200, { model: 'tiny' }]);
    expect(await (await get('/v1/models/tiny-model')).json()).toMatchObject({ id: 'tiny' });
    expect((await get('/v1/models/tiny-mod')).status).toBe(404);
  });

  it('lists its model', async () => {
    const { get } = await start();
    const model = { id: 'tiny', object: 'model', created: 1_700_000_000, owned_by: 'windlass', max_model_len: 128 };
    expect(await (await get('/v1/models')).json()).toEqual({ object: 'list', data: [model] });
    expect(await (await get('/v1/models/tiny')).json()).toEqual(model);
    expect((await get('/v1/models/other')).status).toBe(404);
  });

  it('exposes counts and times under the names of vLLM', async () => {
    const { get, post } = await start();
    await (await post('/v1/completions', { prompt: 'abcdefgh', max_tokens: 3 })).json();
    await (await post('/v1/completions', { prompt: 'abcdefgh', max_tokens: 2 })).json();
    await (await post('/v1/completions', { prompt: 'a', n: 99 })).json();
    const text = await (await get('/metrics')).text();
    const lines = text.split('\n').filter((line) => /^(vllm|windlass)/.test(line) && !/_bucket|_sum/.test(line));
    expect(lines).toMatchInlineSnapshot(`
      [
        "vllm:num_requests_running{model_name="tiny"} 0",
        "vllm:num_requests_waiting{model_name="tiny"} 0",
        "vllm:kv_cache_usage_perc{model_name="tiny"} 0",
        "windlass_kv_cache_bytes{cache_type="f32",model_name="tiny"} 4096",
        "vllm:prefix_cache_queries_total{model_name="tiny"} 16",
        "vllm:prefix_cache_hits_total{model_name="tiny"} 4",
        "vllm:num_preemptions_total{model_name="tiny"} 0",
        "vllm:prompt_tokens_total{model_name="tiny"} 16",
        "vllm:generation_tokens_total{model_name="tiny"} 5",
        "vllm:spec_decode_num_drafts_total{model_name="tiny"} 0",
        "vllm:spec_decode_num_draft_tokens_total{model_name="tiny"} 0",
        "vllm:spec_decode_num_accepted_tokens_total{model_name="tiny"} 0",
        "vllm:request_success_total{finished_reason="stop",model_name="tiny"} 0",
        "vllm:request_success_total{finished_reason="length",model_name="tiny"} 2",
        "vllm:request_success_total{finished_reason="abort",model_name="tiny"} 0",
        "vllm:request_success_total{finished_reason="error",model_name="tiny"} 0",
        "windlass_request_errors_total{code="WL_REQUEST_INVALID",model_name="tiny"} 1",
        "vllm:time_to_first_token_seconds_count{model_name="tiny"} 2",
        "vllm:inter_token_latency_seconds_count{model_name="tiny"} 3",
        "vllm:e2e_request_latency_seconds_count{model_name="tiny"} 2",
        "vllm:request_prompt_tokens_count{model_name="tiny"} 2",
        "vllm:request_generation_tokens_count{model_name="tiny"} 2",
      ]
    `);
  });

  it('logs tokens and times of each request, and never its text', async () => {
    const { post, logLines } = await start();
    await (await post('/v1/completions', { prompt: 'my secret plan', max_tokens: 3 })).json();
    await (await post('/v1/completions', '{"prompt": "my secret plan", }')).json();
    await (await post('/v1/completions', { prompt: 'my secret plan', stop: 7 })).json();
    const log = logLines.join('');
    expect(log).toContain('"promptTokens":14,"completionTokens":3');
    expect(log).toContain('"code":"WL_REQUEST_INVALID"');
    expect(log).not.toContain('secret');
    expect(log).not.toContain('my ');
  });
});
