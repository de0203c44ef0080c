// The server over HTTP: both protocols, streams, readiness, metrics, and clients that leave.
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
  const deadline = Date.now() + 5000;
  while (!holds()) {
    if (Date.now() > deadline) throw new Error('the condition did not come true within 5 s');
    await turn();
  }
}

describe('POST /v1/completions', () => {
  it('answers in the shape of the protocol', async () => {
    const { post } = await start();
    const response = await post('/v1/completions', { model: 'tiny', prompt: 'hello', max_tokens: 7 });
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchInlineSnapshot(`
      {
        "choices": [
          {
            "finish_reason": "length",
            "index": 0,
            "logprobs": null,
            "text": "hellohe",
          },
        ],
        "created": 1700000000,
        "id": "cmpl-id-1",
        "model": "tiny",
        "object": "text_completion",
        "usage": {
          "completion_tokens": 7,
          "prompt_tokens": 5,
          "prompt_tokens_details": {
            "cached_tokens": 0,
          },
          "total_tokens": 12,
        },
      }
    `);
  });

  it('generates 16 tokens without max_tokens, fewer where the context ends', async () => {
    const { post } = await start({ engineLimits: { contextLength: 20 } });
    const usage = async (prompt: string) => (await readAnswer(post('/v1/completions', { prompt }))).usage.completion_tokens;
    expect(await usage('abc')).toBe(16);
    expect(await usage('abcdefghij')).toBe(10);
  });

  it('takes texts, tokens, and several of them; choices are ordered by prompt, then completion', async () => {
    const { post } = await start();
    const texts = async (prompt: unknown, n = 1) => {
      const body = await readAnswer(post('/v1/completions', { prompt, max_tokens: 2, n }));
      return [body.choices.map((choice) => [choice.index, choice.text]), body.usage.prompt_tokens, body.usage.completion_tokens];
    };
    expect(await texts([104, 105])).toEqual([[[0, 'hi']], 2, 2]);
    expect(await texts(['ab', 'xyz'], 2)).toEqual([
      [
        [0, 'ab'],
        [1, 'ab'],
        [2, 'xy'],
        [3, 'xy'],
      ],
      5,
      8,
    ]);
    expect(await texts([[104, 105], [106]])).toEqual([
      [
        [0, 'hi'],
        [1, 'jj'],
      ],
      3,
      4,
    ]);
  });

  it('gives log-probabilities of tokens and of an echoed prompt', async () => {
    const { post } = await start();
    const body = await readAnswer(post('/v1/completions', { prompt: 'ab', max_tokens: 1, logprobs: 1, echo: true }));
    expect(body.choices[0]).toEqual({
      index: 0,
      text: 'aba',
      logprobs: {
        tokens: ['a', 'b', 'a'],
        token_logprobs: [null, -0.5, -0.5],
        top_logprobs: [null, { b: -0.5 }, { a: -0.5 }],
        text_offset: [0, 1, 2],
      },
      finish_reason: 'length',
    });
    const scored = await readAnswer(post('/v1/completions', { prompt: 'ab', max_tokens: 0, logprobs: 0, echo: true }));
    expect(scored.choices[0]).toMatchObject({ text: 'ab', logprobs: { token_logprobs: [null, -0.5], top_logprobs: null } });
  });

  it('streams the same text in pieces, with usage where asked for, and ends with [DONE]', async () => {
    const { post } = await start();
    const response = await post('/v1/completions', {
      prompt: 'hello END',
      max_tokens: 20,
      stop: 'END',
      stream: true,
      stream_options: { include_usage: true },
    });
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    const { events, done } = await readEvents(response);
    expect(done).toBe(true);
    expect(events.at(-1)).toMatchObject({ choices: [], usage: { prompt_tokens: 9, completion_tokens: 9, total_tokens: 18 } });
    const chunks = events.slice(0, -1);
    expect(chunks.every((chunk) => chunk.usage === null)).toBe(true);
    expect(chunks.map((chunk) => chunk.choices[0]!.text).join('')).toBe('hello ');
    expect(chunks.map((chunk) => chunk.choices[0]!.finish_reason)).toEqual([...Array.from({ length: 6 }, () => null), 'stop']);
    expect(new Set(chunks.map((chunk) => chunk.id))).toEqual(new Set(['cmpl-id-1']));
  });
});

describe('POST /v1/chat/completions', () => {
  it('answers in the shape of the protocol', async () => {
    const { post } = await start();
    const messages = [
      { role: 'system', content: 'be brief' },
      { role: 'user', content: [{ type: 'text', text: 'hi' }] },
    ];
    const response = await post('/v1/chat/completions', { messages, max_completion_tokens: 6, logprobs: true, top_logprobs: 1 });
    const body = await readAnswer(response);
    expect(body.choices[0]!.logprobs.content).toHaveLength(6);
    body.choices[0]!.logprobs.content.length = 1;
    expect(body).toMatchInlineSnapshot(`
      {
        "choices": [
          {
            "finish_reason": "length",
            "index": 0,
            "logprobs": {
              "content": [
                {
                  "bytes": [
                    115,
                  ],
                  "logprob": -0.5,
                  "token": "s",
                  "top_logprobs": [
                    {
                      "bytes": [
                        115,
                      ],
                      "logprob": -0.5,
                      "token": "s",
                    },
                  ],
                },
              ],
              "refusal": null,
            },
            "message": {
              "content": "system",
              "refusal": null,
              "role": "assistant",
            },
          },
        ],
        "created": 1700000000,
        "id": "chatcmpl-id-1",
        "model": "tiny",
        "object": "chat.completion",
        "usage": {
          "completion_tokens": 6,
          "prompt_tokens": 36,
          "prompt_tokens_details": {
            "cached_tokens": 0,
          },
          "total_tokens": 42,
        },
      }
    `);
  });

  it('streams deltas that begin with the role', async () => {
    const { post } = await start();
    const response = await post('/v1/chat/completions', {
      messages: [{ role: 'user', content: 'é' }],
      max_tokens: 4,
      stream: true,
      n: 2,
    });
    const { events, done } = await readEvents(response);
    expect(done).toBe(true);
    expect(events.slice(0, 2).map((event) => event.choices[0]!.delta)).toEqual([
      { role: 'assistant', content: '' },
      { role: 'assistant', content: '' },
    ]);
    for (const index of [0, 1]) {
      const choices = events.slice(2).flatMap((event) => event.choices.filter((choice) => choice.index === index));
      expect(choices.map((choice) => choice.delta.content ?? '').join('')).toBe('user');
      expect(choices.at(-1)?.finish_reason).toBe('length');
    }
  });

  it('fills the rest of the context without max_tokens', async () => {
    const { post } = await start({ engineLimits: { contextLength: 30 } });
    const response = await post('/v1/chat/completions', { messages: [{ role: 'user', content: 'hi' }] });
    expect((await readAnswer(response)).usage).toMatchObject({ prompt_tokens: 19, completion_tokens: 11, total_tokens: 30 });
  });
});

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
    expect(logLines.join('')).toContain('"status":499');
    socket.destroy();
  }, 60_000);
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

  it('while leaving answers on, says 503 to probes, and ends each connection after its answer', async () => {
    const { get, post, server } = await start();
    const running = await post('/v1/completions', { prompt: 'abc', max_tokens: 40, stream: true });
    server.leave();
    expect((await get('/ready')).status).toBe(503);
    const response = await post('/v1/completions', { prompt: 'abc', max_tokens: 2 });
    expect([response.status, response.headers.get('connection')]).toEqual([200, 'close']);
    expect((await readEvents(running)).done).toBe(true);
    expect((await readEvents(post('/v1/completions', { prompt: 'abc', max_tokens: 4, stream: true }))).done).toBe(true);
    await expect.poll(() => new Promise((resolve) => server.app.server.getConnections((_, count) => resolve(count)))).toBe(0);
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
        "vllm:prefix_cache_queries_total{model_name="tiny"} 16",
        "vllm:prefix_cache_hits_total{model_name="tiny"} 4",
        "vllm:num_preemptions_total{model_name="tiny"} 0",
        "vllm:prompt_tokens_total{model_name="tiny"} 16",
        "vllm:generation_tokens_total{model_name="tiny"} 5",
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
