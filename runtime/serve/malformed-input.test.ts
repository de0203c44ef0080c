// A corpus of malformed and hostile requests: each is refused with its status, code, parameter and limit, and the server goes on.
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readAnswer, startTestServer } from './testing.ts';
import type { TestServer } from './testing.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer({
    limits: { bodyBytes: 100_000, jsonDepth: 64, jsonKeys: 1000, biases: 800 },
  });
});
afterAll(() => server.close());

const nested = (depth: number) => `${'['.repeat(depth)}${']'.repeat(depth)}`;
const completion = (rest: object) => ({ prompt: 'abc', max_tokens: 1, ...rest });
const chat = (rest: object) => ({ messages: [{ role: 'user', content: 'hi' }], max_tokens: 1, ...rest });

/** Status, code, parameter and message of what comes back. */
async function refusal(path: string, body: unknown, init?: RequestInit) {
  const response = await server.post(path, body, init);
  const { error } = await readAnswer(response);
  return `${response.status} ${error?.code} ${error?.param}: ${error?.message}`;
}

describe('bodies that are no JSON text', () => {
  const cases: Record<string, [body: string | Buffer, expected: string]> = {
    empty: ['', '400 WL_REQUEST_INVALID null: the body is not valid JSON: it is empty'],
    truncated: ['{"prompt": "abc', '400 WL_REQUEST_INVALID null: the body is not valid JSON: see position 15'],
    'a trailing comma': ['{"prompt": "abc",}', '400 WL_REQUEST_INVALID null: the body is not valid JSON: see position 17'],
    'two values': ['{} {}', '400 WL_REQUEST_INVALID null: the body is not valid JSON: see position 3'],
    NaN: ['{"prompt": "a", "temperature": NaN}', '400 WL_REQUEST_INVALID null: the body is not valid JSON'],
    Infinity: ['{"prompt": "a", "temperature": Infinity}', '400 WL_REQUEST_INVALID null: the body is not valid JSON'],
    'an array': ['[]', '400 WL_REQUEST_INVALID null: the body must be a JSON object'],
    'a string': ['"abc"', '400 WL_REQUEST_INVALID null: the body must be a JSON object'],
    null: ['null', '400 WL_REQUEST_INVALID null: the body must be a JSON object'],
    'no UTF-8': [Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x7d]), '400 WL_REQUEST_INVALID null: the body is not valid UTF-8'],
    'a truncated character': [
      Buffer.from('{"prompt": "é"}').subarray(0, 13),
      '400 WL_REQUEST_INVALID null: the body is not valid UTF-8',
    ],
    'UTF-16': [Buffer.from('{"prompt": "a"}', 'utf16le'), '400 WL_REQUEST_INVALID null: the body is not valid JSON'],
  };
  it.each(Object.entries(cases))('refuses %s', async (_name, [body, expected]) => {
    expect(await refusal('/v1/completions', body)).toContain(expected);
  });

  it('does not repeat the text in the message', async () => {
    expect(await refusal('/v1/completions', '{"prompt": "my secret" plan}')).not.toMatch(/secret|plan/);
  });
});

describe('JSON that is not what it seems', () => {
  it.each([
    ['{"prompt": "\\ud800"}', '400 WL_REQUEST_INVALID prompt: prompt has a lone surrogate, which is no text'],
    ['{"prompt": ["a", "\\udc00x"]}', '400 WL_REQUEST_INVALID prompt: prompt[1] has a lone surrogate, which is no text'],
    ['{"prompt": "a", "\\ud800": 1}', '400 WL_REQUEST_INVALID null: the body has a lone surrogate, which is no text'],
    [
      '{"prompt": "a", "temperature": 1e999}',
      '400 WL_REQUEST_INVALID temperature: temperature has a number too large for a double',
    ],
    ['{"prompt": "a", "seed": -1e400}', '400 WL_REQUEST_INVALID seed: seed has a number too large for a double'],
    ['{"prompt": [1, 1e999]}', '400 WL_REQUEST_INVALID prompt: prompt[1] has a number too large for a double'],
    ['{"prompt": "a", "__proto__": {"n": 2}}', '400 WL_REQUEST_INVALID null: the body has a key __proto__, which is not allowed'],
    [
      '{"prompt": "a", "metadata": {"__proto__": {}}}',
      '400 WL_REQUEST_INVALID metadata: metadata has a key __proto__, which is not allowed',
    ],
    ['{"prompt": "a", "constructor": {}}', '400 WL_REQUEST_INVALID constructor: unknown parameter constructor'],
    ['{"prompt": "a", "toString": 1}', '400 WL_REQUEST_INVALID toString: unknown parameter toString'],
    [`{"prompt": "a", "metadata": ${nested(64)}}`, '400 WL_REQUEST_INVALID null: the body has more than 64 levels of nesting'],
    [`{"prompt": ${nested(40_000)}}`, '400 WL_REQUEST_INVALID null: the body has more than 64 levels of nesting'],
    [
      JSON.stringify({ prompt: 'a', metadata: Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`k${i}`, i])) }),
      '400 WL_REQUEST_INVALID null: the body has more than 1000 keys and lists',
    ],
    [`{"prompt": [${'[1],'.repeat(1000)}[1]]}`, '400 WL_REQUEST_INVALID null: the body has more than 1000 keys and lists'],
    [`{"prompt": "${'a'.repeat(100_000)}"}`, '413 WL_REQUEST_TOO_LARGE null: the body has more than 100000 bytes'],
  ])('refuses %.50s', async (body, expected) => {
    expect(await refusal('/v1/completions', body)).toBe(expected);
  });
});

describe('parameters of completions', () => {
  const invalid = '400 WL_REQUEST_INVALID';
  it.each([
    [{ prompt: undefined }, `${invalid} prompt: prompt: expected a text, a list of token ids, or 1 to 64 of either`],
    [{ prompt: '' }, `${invalid} null: the prompt has no tokens; at least one is needed`],
    [{ prompt: [] }, `${invalid} prompt: prompt: expected a text, a list of token ids, or 1 to 64 of either`],
    [{ prompt: [[]] }, `${invalid} prompt: prompt: expected a text, a list of token ids, or 1 to 64 of either`],
    [{ prompt: [1, 'a'] }, `${invalid} prompt: prompt: expected a text, a list of token ids, or 1 to 64 of either`],
    [{ prompt: [1.5] }, `${invalid} prompt: prompt: expected a text, a list of token ids, or 1 to 64 of either`],
    [{ prompt: [-1] }, `${invalid} prompt: prompt: expected a text, a list of token ids, or 1 to 64 of either`],
    [{ prompt: [257] }, `${invalid} null: the prompt has token 257; the vocabulary has 257`],
    [{ prompt: [2 ** 53] }, `${invalid} prompt: prompt: expected a text, a list of token ids, or 1 to 64 of either`],
    [
      { prompt: Array.from({ length: 65 }, () => 'a') },
      `${invalid} prompt: prompt: expected a text, a list of token ids, or 1 to 64 of either`,
    ],
    [
      { prompt: 'a'.repeat(129) },
      '400 WL_PROMPT_TOO_LONG null: 129 prompt tokens and 1 to generate exceed the context of 128 tokens',
    ],
    [{ max_tokens: 126 }, '400 WL_PROMPT_TOO_LONG null: 3 prompt tokens and 126 to generate exceed the context of 128 tokens'],
    [{ max_tokens: 1e300 }, `${invalid} max_tokens: max_tokens: Too big: expected int to be <=9007199254740991`],
    [{ max_tokens: -1 }, `${invalid} max_tokens: max_tokens: Too small: expected number to be >=0`],
    [{ max_tokens: 0 }, `${invalid} max_tokens: max_tokens: 0 generates nothing; set echo: true to score the prompt only`],
    [{ max_tokens: '5' }, `${invalid} max_tokens: max_tokens: Invalid input: expected number, received string`],
    [{ n: 9 }, `${invalid} n: n: Too big: expected number to be <=8`],
    [{ n: 0 }, `${invalid} n: n: Too small: expected number to be >=1`],
    [{ temperature: -0.1 }, `${invalid} temperature: temperature: Too small: expected number to be >=0`],
    [{ temperature: 2.1 }, `${invalid} temperature: temperature: Too big: expected number to be <=2`],
    [{ top_p: 0 }, `${invalid} top_p: top_p: Too small: expected number to be >0`],
    [{ top_k: -2 }, `${invalid} top_k: top_k: Too small: expected number to be >=-1`],
    [{ min_p: 1.1 }, `${invalid} min_p: min_p: Too big: expected number to be <=1`],
    [{ seed: 0.5 }, `${invalid} seed: seed: Invalid input: expected int, received number`],
    [{ logprobs: 21 }, `${invalid} logprobs: logprobs: Too big: expected number to be <=20`],
    [{ stop: '' }, `${invalid} stop: stop: Too small: expected string to have >=1 characters`],
    [{ stop: 'x'.repeat(129) }, `${invalid} stop: stop: Too big: expected at most 128 bytes`],
    [
      { stop: Array.from({ length: 17 }, (_, i) => `s${i}`) },
      `${invalid} stop: stop: expected a text of 1 to 128 bytes, or at most 16 of them`,
    ],
    [{ stream: 'yes' }, `${invalid} stream: stream: Invalid input: expected boolean, received string`],
    [
      { stream_options: { include_usage: true } },
      `${invalid} stream_options: stream_options is for streams only; set stream: true`,
    ],
    [{ stream: true, stream_options: { other: 1 } }, `${invalid} stream_options: stream_options: Unrecognized key: "other"`],
    [{ model: 'gpt-4' }, '404 WL_OBJECT_NOT_FOUND model: the model gpt-4 is not served here; tiny is'],
    [{ model: 7 }, `${invalid} model: model: expected a string`],
    [{ suffix: 'end' }, `${invalid} suffix: suffix is not supported; only "", which changes nothing, is accepted`],
    [{ n: 3, best_of: 2 }, `${invalid} best_of: best_of: 2 completions are fewer than the 3 that n asks for`],
    [
      { best_of: 2, stream: true },
      `${invalid} best_of: best_of: which completions are best is known at their end; set stream: false`,
    ],
    [{ best_of: 9 }, `${invalid} best_of: best_of: Too big: expected number to be <=8`],
    [{ best_of: 0 }, `${invalid} best_of: best_of: Too small: expected number to be >=1`],
    [
      { length_penalty: 2 },
      `${invalid} length_penalty: length_penalty is not supported; only 1, which changes nothing, is accepted`,
    ],
    [{ logit_bias: { 5: 101 } }, `${invalid} logit_bias: logit_bias.5: Too big: expected number to be <=100`],
    [{ logit_bias: { x: 1 } }, `${invalid} logit_bias: logit_bias.x: Invalid key in record`],
    [{ logit_bias: { 257: 1 } }, `${invalid} logit_bias: logit_bias has token 257; the vocabulary has 257`],
    [
      { logit_bias: Object.fromEntries(Array.from({ length: 900 }, (_, i) => [i, 1])) },
      `${invalid} logit_bias: logit_bias: Too big: expected at most 800 tokens`,
    ],
    [{ presence_penalty: 2.1 }, `${invalid} presence_penalty: presence_penalty: Too big: expected number to be <=2`],
    [{ frequency_penalty: -2.1 }, `${invalid} frequency_penalty: frequency_penalty: Too small: expected number to be >=-2`],
    [{ repetition_penalty: 0 }, `${invalid} repetition_penalty: repetition_penalty: Too small: expected number to be >0`],
    [{ stop_token_ids: [257] }, `${invalid} stop_token_ids: stop_token_ids has token 257; the vocabulary has 257`],
    [{ stop_token_ids: ['a'] }, `${invalid} stop_token_ids: stop_token_ids[0]: Invalid input: expected number, received string`],
    [
      { stop_token_ids: Array.from({ length: 257 }, () => 1) },
      `${invalid} stop_token_ids: stop_token_ids: Too big: expected array to have <=256 items`,
    ],
    [{ min_tokens: 2 }, `${invalid} min_tokens: min_tokens: 2 is more than may be generated`],
    [{ prompt_logprobs: 21 }, `${invalid} prompt_logprobs: prompt_logprobs: Too big: expected number to be <=20`],
    [
      { prompt_logprobs: 0, stream: true },
      `${invalid} prompt_logprobs: prompt_logprobs come with a whole answer only; set stream: false`,
    ],
    [{ made_up: 1 }, `${invalid} made_up: unknown parameter made_up`],
  ])('refuses %j', async (rest, expected) => {
    expect(await refusal('/v1/completions', completion(rest))).toBe(expected);
  });

  it('accepts parameters that change nothing, and null for absent', async () => {
    const response = await server.post(
      '/v1/completions',
      completion({
        user: 'me',
        metadata: { a: 'b' },
        length_penalty: 1,
        tools: [],
        best_of: 1,
        stop: null,
        temperature: null,
        logprobs: null,
        stream_options: null,
        suffix: null,
      }),
    );
    expect(response.status).toBe(200);
  });
});

describe('parameters of conversations', () => {
  const invalid = '400 WL_REQUEST_INVALID';
  it.each([
    [{ messages: undefined }, `${invalid} messages: messages: Invalid input: expected array, received undefined`],
    [{ messages: [] }, `${invalid} messages: messages: Too small: expected array to have >=1 items`],
    [{ messages: [{ role: 'user' }] }, `${invalid} messages: messages[0].content: expected a text, or parts of type text`],
    [
      { messages: [{ role: 'tool', content: 'x' }] },
      `${invalid} messages: messages[0].role: Invalid option: expected one of "system"|"developer"|"user"|"assistant"`,
    ],
    [
      { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'http://x' } }] }] },
      `${invalid} messages: messages[0].content: expected a text, or parts of type text`,
    ],
    [{ messages: [{ role: 'user', content: 'x', extra: 1 }] }, `${invalid} messages: messages[0]: Unrecognized key: "extra"`],
    [{ top_logprobs: 2 }, `${invalid} top_logprobs: top_logprobs needs logprobs: true`],
    [{ logprobs: true, top_logprobs: 21 }, `${invalid} top_logprobs: top_logprobs: Too big: expected number to be <=20`],
    [
      { max_completion_tokens: 0 },
      `${invalid} max_completion_tokens: max_completion_tokens: Too small: expected number to be >=1`,
    ],
    [{ tools: [{ type: 'function' }] }, `${invalid} tools: tools is not supported; only [], which changes nothing, is accepted`],
    [
      { response_format: { type: 'json_object' } },
      `${invalid} response_format: response_format is not supported; only {"type":"text"}, which changes nothing, is accepted`,
    ],
    [{ prompt: 'x' }, `${invalid} prompt: unknown parameter prompt`],
  ])('refuses %j', async (rest, expected) => {
    expect(await refusal('/v1/chat/completions', chat(rest))).toBe(expected);
  });
});

describe('HTTP that is malformed', () => {
  const post = (headers: string, body = '') => `POST /v1/completions HTTP/1.1\r\nhost: x\r\n${headers}\r\n\r\n${body}`;
  it.each([
    ['no HTTP at all', 'hello there\r\n\r\n', 'HTTP/1.1 400 '],
    ['TLS on a plain port', '\u0016\u0003\u0001\u0002\u0000\u0001\u0000', 'HTTP/1.1 400 '],
    ['an unknown method', 'FETCH / HTTP/1.1\r\nhost: x\r\n\r\n', 'HTTP/1.1 400 '],
    ['two lengths', post('content-length: 2\r\ncontent-length: 3', '{}'), 'HTTP/1.1 400 '],
    ['a length and chunks', post('content-length: 2\r\ntransfer-encoding: chunked', '2\r\n{}\r\n0\r\n\r\n'), 'HTTP/1.1 400 '],
    ['a bad chunk size', post('content-type: application/json\r\ntransfer-encoding: chunked', 'zz\r\n{}\r\n'), 'HTTP/1.1 400 '],
    ['a negative length', post('content-length: -1'), 'HTTP/1.1 400 '],
    ['headers of more than 16 KiB', post(`x: ${'a'.repeat(17_000)}`), 'HTTP/1.1 431 '],
    ['a line break in a header', 'GET / HTTP/1.1\r\nhost: x\r\na: b\rc: d\r\n\r\n', 'HTTP/1.1 400 '],
  ])('refuses %s', async (_name, bytes, expected) => {
    const answer = await server.raw(bytes);
    expect(answer).toMatch(expected);
    expect(answer).toContain('"code":"WL_REQUEST_INVALID"');
  });

  it('gives up on headers and bodies that do not arrive', async () => {
    // A server of its own: what is quick here must not be too slow for it elsewhere.
    const hasty = await startTestServer({ limits: { headerTimeoutMs: 300, requestTimeoutMs: 600 } });
    const [headers, body] = await Promise.all([
      hasty.raw('POST /v1/completions HTTP/1.1\r\nhost: x\r\n'),
      hasty.raw(post('content-type: application/json\r\ncontent-length: 50', '{"prompt"')),
    ]);
    await hasty.close();
    expect(headers).toMatch('HTTP/1.1 408 ');
    expect(body).toMatch('HTTP/1.1 408 ');
  });

  it('refuses other content types, methods and paths', async () => {
    const headers = { 'content-type': 'text/plain' };
    expect(await refusal('/v1/completions', '{}', { headers })).toBe(
      '415 WL_REQUEST_INVALID null: the content-type must be application/json',
    );
    expect(await refusal('/v1/embeddings', {})).toBe('404 WL_OBJECT_NOT_FOUND null: there is no POST /v1/embeddings');
    expect((await server.get('/v1/completions')).status).toBe(404);
    expect((await server.get('/%ff')).status).toBe(400);
    expect((await server.get('/../../etc/passwd')).status).toBe(404);
  });
});

describe('too many requests', () => {
  it('are refused with 429 and Retry-After when the queue is full', async () => {
    const busy = await startTestServer({
      engineLimits: { maxSequences: 1, maxWaiting: 1 },
      beforeResults: () => new Promise(() => {}),
    });
    const controller = new AbortController();
    const first = busy.post('/v1/completions', { prompt: 'a' }, { signal: controller.signal });
    const gone = expect(first).rejects.toThrow();
    await expect.poll(() => busy.runner.steps.length).toBe(1);
    const second = expect(busy.post('/v1/completions', { prompt: 'b' }, { signal: controller.signal })).rejects.toThrow();
    await expect.poll(() => busy.engine.stats().waiting).toBe(1);
    const response = await busy.post('/v1/completions', { prompt: 'c' });
    expect([response.status, response.headers.get('retry-after')]).toEqual([429, '1']);
    expect((await readAnswer(response)).error).toEqual({
      message: '1 sequences are waiting; at most 1 may',
      type: 'rate_limit_error',
      param: null,
      code: 'WL_OVERLOADED',
    });
    controller.abort();
    await Promise.all([gone, second]);
    await expect.poll(() => busy.engine.stats().usedBlocks).toBe(0);
    await busy.server.app.close();
  });
});

it('answers any JSON in any parameter with 200 or a named 4xx, never with a fault of its own', async () => {
  const names =
    'model prompt messages max_tokens max_completion_tokens temperature top_p top_k min_p seed n stop stream stream_options logprobs ' +
    'top_logprobs echo ignore_eos user logit_bias tools x stop_token_ids min_tokens presence_penalty frequency_penalty repetition_penalty prompt_logprobs';
  const likely = fc.constantFrom(0, 1, 2, -1, 0.5, 1e308, true, false, null, '', 'a', 'tiny', [1, 2], ['a'], {}, [
    { role: 'user', content: 'x' },
  ]);
  const body = fc.dictionary(fc.constantFrom(...names.split(' ')), fc.oneof({ weight: 3, arbitrary: likely }, fc.jsonValue()), {
    maxKeys: 6,
  });
  await fc.assert(
    fc.asyncProperty(fc.constantFrom('/v1/completions', '/v1/chat/completions'), body, async (path, given) => {
      const base = path === '/v1/completions' ? completion({}) : chat({});
      const response = await server.post(path, { ...base, ...given });
      const text = await response.text();
      if (response.status === 200) return;
      expect([400, 404]).toContain(response.status);
      expect(text).toMatch(/"code":"WL_(REQUEST_INVALID|PROMPT_TOO_LONG|OBJECT_NOT_FOUND)"/);
    }),
    { numRuns: 400 },
  );
  expect(server.engine.checkBlocks().used).toBe(0);
});

it('still answers after all of it, with all blocks free', async () => {
  const { choices } = await readAnswer(server.post('/v1/completions', { prompt: 'abc', max_tokens: 3 }));
  expect(choices[0]!.text).toBe('abc');
  expect(server.engine.checkBlocks().used).toBe(0);
  expect(server.engine.stats().finished.error).toBe(0);
});
