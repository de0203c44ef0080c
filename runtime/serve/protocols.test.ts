// Both protocols over HTTP, whole and streamed.
import { afterEach, describe, expect, it } from 'vitest';
import { endOfText } from '#runtime/engine/fake-runner.ts';
import type { Work } from '#runtime/engine/runner.ts';
import { readAnswer, readEvents, startTestServer } from './testing.ts';
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

  it('gives log-probabilities of the prompt by token ids, beside those of the echo', async () => {
    const { post } = await start();
    const scored = (rank: number | null, decoded_token: string, logprob = -0.5) => ({ logprob, rank, decoded_token });
    const body = await readAnswer(
      post('/v1/completions', { prompt: 'ab', max_tokens: 1, prompt_logprobs: 2, logprobs: 0, echo: true }),
    );
    expect(body.choices[0]).toMatchObject({
      text: 'aba',
      logprobs: { token_logprobs: [null, -0.5, -0.5], top_logprobs: null },
      prompt_logprobs: [null, { 98: scored(1, 'b'), 99: scored(2, 'c', -1.5) }],
    });
    const messages = [{ role: 'user', content: 'a' }];
    const chat = await readAnswer(post('/v1/chat/completions', { messages, max_tokens: 1, prompt_logprobs: 0 }));
    expect(chat.prompt_logprobs).toHaveLength('user: a\nassistant:'.length);
    expect(chat.prompt_logprobs![1]).toEqual({ 115: scored(null, 's') });
  });

  it('honours biases, penalties, stop tokens and a least number of tokens', async () => {
    const { post } = await start({ next: () => 97 });
    const text = async (rest: object) => {
      const { choices } = await readAnswer(post('/v1/completions', { prompt: 'b', max_tokens: 4, ...rest }));
      return `${choices[0]!.text} ${choices[0]!.finish_reason}`;
    };
    expect(await text({})).toBe('aaaa length');
    expect(await text({ logit_bias: { 120: 1.5 } })).toBe('xxxx length');
    expect(await text({ logit_bias: { 120: 0.5 }, presence_penalty: 0.6 })).toBe('axaa length');
    expect(await text({ logit_bias: { 120: 0.9, 121: 0.8 }, frequency_penalty: 0.3 })).toBe('axya length');
    expect(await text({ logit_bias: { 98: 0.9, 99: 0.7 }, repetition_penalty: 2 })).toBe('acaa length');
    expect(await text({ stop_token_ids: [97] })).toBe(' stop');
    expect(await text({ stop_token_ids: [97], min_tokens: 2, logit_bias: { 120: 0.5 } })).toBe('xx stop');
    expect(await text({ stop: ['aa'], min_tokens: 1 })).toBe('a stop');
    expect(await text({ stop: ['aa'], min_tokens: 3 })).toBe('aaaa length');
  });

  it('says in each chunk what was used so far, if asked', async () => {
    const { post } = await start();
    const stream_options = { include_usage: true, continuous_usage_stats: true };
    const { events } = await readEvents(post('/v1/completions', { prompt: 'abc', max_tokens: 3, stream: true, stream_options }));
    expect(events.map(({ usage }) => [usage.prompt_tokens, usage.completion_tokens])).toEqual([
      [3, 1],
      [3, 2],
      [3, 3],
      [3, 3],
    ]);
    const messages = [{ role: 'user', content: 'a' }];
    const chat = await readEvents(
      post('/v1/chat/completions', { messages, max_tokens: 2, stream: true, stream_options: { include_usage: true } }),
    );
    expect(chat.events.map(({ usage }) => usage?.completion_tokens)).toEqual([undefined, undefined, undefined, 2]);
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

describe('best_of', () => {
  /** Each completion draws other letters, and later letters are less likely. */
  const letters = {
    next: (tokens: readonly number[], { sampling }: Work) =>
      97 + Number(BigInt.asUintN(16, (sampling.seed >> 7n) * BigInt(tokens.length * 2 + 1)) % 26n),
    logprob: (id: number) => -((id - 96) ** 2) / 64,
  };
  interface Scored {
    readonly text: string;
    readonly logprobs: { readonly token_logprobs: readonly number[] };
  }
  const mean = ({ logprobs }: Scored) =>
    logprobs.token_logprobs.reduce((sum, logprob) => sum + logprob, 0) / logprobs.token_logprobs.length;

  it('gives the n likeliest per token of those that n: best_of draws with the seed, the best first, and counts all', async () => {
    const { post } = await start(letters);
    const request = { prompt: 'ab', max_tokens: 5, seed: 1111, logprobs: 1 };
    const all = await readAnswer(post('/v1/completions', { ...request, n: 6 }));
    const scored = all.choices as unknown as Scored[];
    const best = scored.toSorted((a, b) => mean(b) - mean(a)).slice(0, 2);
    expect(new Set(scored.map(mean)).size).toBe(6);
    expect(best[0]).not.toBe(scored[0]);
    const picked = await readAnswer(post('/v1/completions', { ...request, n: 2, best_of: 6 }));
    expect(picked.choices).toEqual(best.map((choice, index) => ({ ...choice, index })));
    expect(picked.usage).toMatchObject({ prompt_tokens: 2, completion_tokens: 30, total_tokens: 32 });
    const again = await readAnswer(post('/v1/completions', { ...request, n: 2, best_of: 6 }));
    expect(again.choices).toEqual(picked.choices);
  });

  it('picks for each prompt apart, with echo and the scores of the prompt, which are computed once', async () => {
    const { post } = await start(letters);
    const request = { prompt: ['ab', 'cde'], max_tokens: 3, seed: 4444, logprobs: 0, echo: true, best_of: 4 };
    const both = await readAnswer(post('/v1/completions', request));
    expect(both.choices.map(({ index, text }) => [index, text.slice(0, -3)])).toEqual([
      [0, 'ab'],
      [1, 'cde'],
    ]);
    for (const [index, prompt] of ['ab', 'cde'].entries()) {
      const alone = await readAnswer(post('/v1/completions', { ...request, prompt }));
      expect({ ...alone.choices[0], index }).toEqual(both.choices[index]);
    }
    const scores = (both.choices[1] as unknown as Scored).logprobs.token_logprobs;
    expect([scores.length, ...scores.slice(0, 3)]).toEqual([6, null, -16 / 64, -25 / 64]);
  });

  it('counts the token that ends a completion, and takes the first of equals', async () => {
    const endsBadly = {
      next: (tokens: readonly number[], { sampling }: Work) =>
        sampling.seed === 7n ? (tokens.length > 2 ? endOfText : 97) : 97 + Number(sampling.seed % 2n),
      logprob: (id: number) => (id === endOfText ? -9 : -1),
    };
    const { post } = await start(endsBadly);
    const request = { prompt: 'ab', max_tokens: 3, seed: 7 };
    const drawn = await readAnswer(post('/v1/completions', { ...request, n: 3 }));
    expect(drawn.choices[0]!.text).toBe('a');
    const best = await readAnswer(post('/v1/completions', { ...request, best_of: 3 }));
    expect(best.choices.map(({ text }) => text)).toEqual([drawn.choices[1]!.text]);
    expect(best.usage.completion_tokens).toBe(2 + 3 + 3);
  });

  it('takes a stream and a conversation that ask for the best of one', async () => {
    const { post } = await start();
    const { done } = await readEvents(post('/v1/completions', { prompt: 'ab', max_tokens: 2, best_of: 1, stream: true }));
    expect(done).toBe(true);
    const messages = [{ role: 'user', content: 'hi' }];
    const chat = await readAnswer(post('/v1/chat/completions', { messages, best_of: 2 }));
    expect(chat.error.message).toBe('best_of is not supported; only 1, which changes nothing, is accepted');
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
