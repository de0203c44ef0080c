// What clients of a stream receive, byte for byte.
import { afterEach, describe, expect, it } from 'vitest';
import { startTestServer } from './testing.ts';
import type { TestServer } from './testing.ts';

const running: TestServer[] = [];
async function bytesOf(path: string, body: object, options: Parameters<typeof startTestServer>[0] = {}): Promise<string> {
  const server = await startTestServer(options);
  running.push(server);
  const response = await server.post(path, { max_tokens: 3, ...body, stream: true });
  return visible(Buffer.from(await response.arrayBuffer()));
}
/** Everything beyond printable ASCII by its bytes. */
const visible = (bytes: Buffer) =>
  bytes.toString('latin1').replace(/[^\n -~]/g, (byte) => `<${byte.charCodeAt(0).toString(16)}>`);
afterEach(async () => {
  for (const server of running.splice(0)) await server.close();
});

const completions = '/v1/completions';
const chat = '/v1/chat/completions';
const messages = [{ role: 'user', content: 'hi' }];
/** A model that says this and ends. */
const saying = (text: string) => {
  const bytes = Buffer.from(text);
  return {
    next: (tokens: readonly number[], work: { chunk: { sequence: { promptLength: number } } }) =>
      bytes[tokens.length - work.chunk.sequence.promptLength] ?? 256,
  };
};

describe('the bytes of a stream', () => {
  it('of a completion', async () => {
    expect(await bytesOf(completions, { prompt: 'abc' })).toMatchInlineSnapshot(`
      "data: {"id":"cmpl-id-1","object":"text_completion","created":1700000000,"model":"tiny","choices":[{"index":0,"text":"a","logprobs":null,"finish_reason":null}]}

      data: {"id":"cmpl-id-1","object":"text_completion","created":1700000000,"model":"tiny","choices":[{"index":0,"text":"b","logprobs":null,"finish_reason":null}]}

      data: {"id":"cmpl-id-1","object":"text_completion","created":1700000000,"model":"tiny","choices":[{"index":0,"text":"c","logprobs":null,"finish_reason":"length"}]}

      data: [DONE]

      "
    `);
  });

  it('of completions of several prompts, with what is used at the end', async () => {
    const body = { prompt: ['ab', 'x'], n: 2, max_tokens: 2, stream_options: { include_usage: true } };
    expect(await bytesOf(completions, body)).toMatchInlineSnapshot(`
      "data: {"id":"cmpl-id-1","object":"text_completion","created":1700000000,"model":"tiny","choices":[{"index":0,"text":"a","logprobs":null,"finish_reason":null}],"usage":null}

      data: {"id":"cmpl-id-1","object":"text_completion","created":1700000000,"model":"tiny","choices":[{"index":2,"text":"x","logprobs":null,"finish_reason":null}],"usage":null}

      data: {"id":"cmpl-id-1","object":"text_completion","created":1700000000,"model":"tiny","choices":[{"index":1,"text":"a","logprobs":null,"finish_reason":null}],"usage":null}

      data: {"id":"cmpl-id-1","object":"text_completion","created":1700000000,"model":"tiny","choices":[{"index":3,"text":"x","logprobs":null,"finish_reason":null}],"usage":null}

      data: {"id":"cmpl-id-1","object":"text_completion","created":1700000000,"model":"tiny","choices":[{"index":0,"text":"b","logprobs":null,"finish_reason":"length"}],"usage":null}

      data: {"id":"cmpl-id-1","object":"text_completion","created":1700000000,"model":"tiny","choices":[{"index":2,"text":"x","logprobs":null,"finish_reason":"length"}],"usage":null}

      data: {"id":"cmpl-id-1","object":"text_completion","created":1700000000,"model":"tiny","choices":[{"index":1,"text":"b","logprobs":null,"finish_reason":"length"}],"usage":null}

      data: {"id":"cmpl-id-1","object":"text_completion","created":1700000000,"model":"tiny","choices":[{"index":3,"text":"x","logprobs":null,"finish_reason":"length"}],"usage":null}

      data: {"id":"cmpl-id-1","object":"text_completion","created":1700000000,"model":"tiny","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":8,"total_tokens":11,"prompt_tokens_details":{"cached_tokens":0}}}

      data: [DONE]

      "
    `);
  });

  it('of a completion with log-probabilities and its prompt', async () => {
    expect(await bytesOf(completions, { prompt: 'ab', max_tokens: 2, logprobs: 2, echo: true })).toMatchInlineSnapshot(`
      "data: {"id":"cmpl-id-1","object":"text_completion","created":1700000000,"model":"tiny","choices":[{"index":0,"text":"aba","logprobs":{"tokens":["a","b","a"],"token_logprobs":[null,-0.5,-0.5],"top_logprobs":[null,{"b":-0.5,"c":-1.5},{"a":-0.5,"b":-1.5}],"text_offset":[0,1,2]},"finish_reason":null}]}

      data: {"id":"cmpl-id-1","object":"text_completion","created":1700000000,"model":"tiny","choices":[{"index":0,"text":"b","logprobs":{"tokens":["b"],"token_logprobs":[-0.5],"top_logprobs":[{"b":-0.5,"c":-1.5}],"text_offset":[3]},"finish_reason":"length"}]}

      data: [DONE]

      "
    `);
  });

  it('of a completion that says in each event what is used', async () => {
    const stream_options = { include_usage: true, continuous_usage_stats: true };
    expect(await bytesOf(completions, { prompt: 'ab', max_tokens: 2, stream_options })).toMatchInlineSnapshot(`
      "data: {"id":"cmpl-id-1","object":"text_completion","created":1700000000,"model":"tiny","choices":[{"index":0,"text":"a","logprobs":null,"finish_reason":null}],"usage":{"prompt_tokens":2,"completion_tokens":1,"total_tokens":3,"prompt_tokens_details":{"cached_tokens":0}}}

      data: {"id":"cmpl-id-1","object":"text_completion","created":1700000000,"model":"tiny","choices":[{"index":0,"text":"b","logprobs":null,"finish_reason":"length"}],"usage":{"prompt_tokens":2,"completion_tokens":2,"total_tokens":4,"prompt_tokens_details":{"cached_tokens":0}}}

      data: {"id":"cmpl-id-1","object":"text_completion","created":1700000000,"model":"tiny","choices":[],"usage":{"prompt_tokens":2,"completion_tokens":2,"total_tokens":4,"prompt_tokens_details":{"cached_tokens":0}}}

      data: [DONE]

      "
    `);
  });

  it('of characters that JSON escapes, that take several tokens, and that are broken', async () => {
    const body = { prompt: 'a', max_tokens: 40 };
    expect(await bytesOf(completions, body, saying('"\\\n\u0000\u007f\u2028é🐋'))).toMatchInlineSnapshot(`
      "data: {"id":"cmpl-id-1","object":"text_completion","created":1700000000,"model":"tiny","choices":[{"index":0,"text":"\\"","logprobs":null,"finish_reason":null}]}

      data: {"id":"cmpl-id-1","object":"text_completion","created":1700000000,"model":"tiny","choices":[{"index":0,"text":"\\\\","logprobs":null,"finish_reason":null}]}

      data: {"id":"cmpl-id-1","object":"text_completion","created":1700000000,"model":"tiny","choices":[{"index":0,"text":"\\n","logprobs":null,"finish_reason":null}]}

      data: {"id":"cmpl-id-1","object":"text_completion","created":1700000000,"model":"tiny","choices":[{"index":0,"text":"\\u0000","logprobs":null,"finish_reason":null}]}

      data: {"id":"cmpl-id-1","object":"text_completion","created":1700000000,"model":"tiny","choices":[{"index":0,"text":"<7f>","logprobs":null,"finish_reason":null}]}

      data: {"id":"cmpl-id-1","object":"text_completion","created":1700000000,"model":"tiny","choices":[{"index":0,"text":"<e2><80><a8>","logprobs":null,"finish_reason":null}]}

      data: {"id":"cmpl-id-1","object":"text_completion","created":1700000000,"model":"tiny","choices":[{"index":0,"text":"<c3><a9>","logprobs":null,"finish_reason":null}]}

      data: {"id":"cmpl-id-1","object":"text_completion","created":1700000000,"model":"tiny","choices":[{"index":0,"text":"<f0><9f><90><8b>","logprobs":null,"finish_reason":null}]}

      data: {"id":"cmpl-id-1","object":"text_completion","created":1700000000,"model":"tiny","choices":[{"index":0,"text":"","logprobs":null,"finish_reason":"stop"}]}

      data: [DONE]

      "
    `);
    const broken = { next: (tokens: readonly number[]) => [0xf0, 0x9f, 0x61, 0xff, 0xed, 0xa0, 0x80][tokens.length - 1] ?? 256 };
    expect(await bytesOf(completions, body, broken)).toMatchInlineSnapshot(`
      "data: {"id":"cmpl-id-1","object":"text_completion","created":1700000000,"model":"tiny","choices":[{"index":0,"text":"<ef><bf><bd>a","logprobs":null,"finish_reason":null}]}

      data: {"id":"cmpl-id-1","object":"text_completion","created":1700000000,"model":"tiny","choices":[{"index":0,"text":"<ef><bf><bd>","logprobs":null,"finish_reason":null}]}

      data: {"id":"cmpl-id-1","object":"text_completion","created":1700000000,"model":"tiny","choices":[{"index":0,"text":"<ef><bf><bd><ef><bf><bd>","logprobs":null,"finish_reason":null}]}

      data: {"id":"cmpl-id-1","object":"text_completion","created":1700000000,"model":"tiny","choices":[{"index":0,"text":"<ef><bf><bd>","logprobs":null,"finish_reason":null}]}

      data: {"id":"cmpl-id-1","object":"text_completion","created":1700000000,"model":"tiny","choices":[{"index":0,"text":"","logprobs":null,"finish_reason":"stop"}]}

      data: [DONE]

      "
    `);
  });

  it('of a text that ends before a stop text', async () => {
    expect(await bytesOf(chat, { messages, max_tokens: 40, stop: 'END' }, saying('go E ENEND'))).toMatchInlineSnapshot(`
      "data: {"id":"chatcmpl-id-1","created":1700000000,"model":"tiny","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}

      data: {"id":"chatcmpl-id-1","created":1700000000,"model":"tiny","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"g"},"logprobs":null,"finish_reason":null}]}

      data: {"id":"chatcmpl-id-1","created":1700000000,"model":"tiny","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"o"},"logprobs":null,"finish_reason":null}]}

      data: {"id":"chatcmpl-id-1","created":1700000000,"model":"tiny","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":" "},"logprobs":null,"finish_reason":null}]}

      data: {"id":"chatcmpl-id-1","created":1700000000,"model":"tiny","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"E "},"logprobs":null,"finish_reason":null}]}

      data: {"id":"chatcmpl-id-1","created":1700000000,"model":"tiny","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"EN"},"logprobs":null,"finish_reason":null}]}

      data: {"id":"chatcmpl-id-1","created":1700000000,"model":"tiny","object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]}

      data: [DONE]

      "
    `);
  });

  it('of a conversation', async () => {
    expect(await bytesOf(chat, { messages })).toMatchInlineSnapshot(`
      "data: {"id":"chatcmpl-id-1","created":1700000000,"model":"tiny","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}

      data: {"id":"chatcmpl-id-1","created":1700000000,"model":"tiny","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"u"},"logprobs":null,"finish_reason":null}]}

      data: {"id":"chatcmpl-id-1","created":1700000000,"model":"tiny","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"s"},"logprobs":null,"finish_reason":null}]}

      data: {"id":"chatcmpl-id-1","created":1700000000,"model":"tiny","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"e"},"logprobs":null,"finish_reason":"length"}]}

      data: [DONE]

      "
    `);
  });

  it('of two answers to a conversation, with log-probabilities and what is used', async () => {
    const body = { messages, n: 2, max_tokens: 2, logprobs: true, top_logprobs: 1, stream_options: { include_usage: true } };
    expect(await bytesOf(chat, body)).toMatchInlineSnapshot(`
      "data: {"id":"chatcmpl-id-1","created":1700000000,"model":"tiny","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":null}

      data: {"id":"chatcmpl-id-1","created":1700000000,"model":"tiny","object":"chat.completion.chunk","choices":[{"index":1,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":null}

      data: {"id":"chatcmpl-id-1","created":1700000000,"model":"tiny","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"u"},"logprobs":{"content":[{"token":"u","logprob":-0.5,"bytes":[117],"top_logprobs":[{"token":"u","logprob":-0.5,"bytes":[117]}]}],"refusal":null},"finish_reason":null}],"usage":null}

      data: {"id":"chatcmpl-id-1","created":1700000000,"model":"tiny","object":"chat.completion.chunk","choices":[{"index":1,"delta":{"content":"u"},"logprobs":{"content":[{"token":"u","logprob":-0.5,"bytes":[117],"top_logprobs":[{"token":"u","logprob":-0.5,"bytes":[117]}]}],"refusal":null},"finish_reason":null}],"usage":null}

      data: {"id":"chatcmpl-id-1","created":1700000000,"model":"tiny","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"s"},"logprobs":{"content":[{"token":"s","logprob":-0.5,"bytes":[115],"top_logprobs":[{"token":"s","logprob":-0.5,"bytes":[115]}]}],"refusal":null},"finish_reason":"length"}],"usage":null}

      data: {"id":"chatcmpl-id-1","created":1700000000,"model":"tiny","object":"chat.completion.chunk","choices":[{"index":1,"delta":{"content":"s"},"logprobs":{"content":[{"token":"s","logprob":-0.5,"bytes":[115],"top_logprobs":[{"token":"s","logprob":-0.5,"bytes":[115]}]}],"refusal":null},"finish_reason":"length"}],"usage":null}

      data: {"id":"chatcmpl-id-1","created":1700000000,"model":"tiny","object":"chat.completion.chunk","choices":[],"usage":{"prompt_tokens":19,"completion_tokens":4,"total_tokens":23,"prompt_tokens_details":{"cached_tokens":0}}}

      data: [DONE]

      "
    `);
  });

  it('of a conversation that says in each event what is used', async () => {
    const stream_options = { include_usage: true, continuous_usage_stats: true };
    expect(await bytesOf(chat, { messages, max_tokens: 2, stream_options })).toMatchInlineSnapshot(`
      "data: {"id":"chatcmpl-id-1","created":1700000000,"model":"tiny","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":{"prompt_tokens":19,"completion_tokens":1,"total_tokens":20,"prompt_tokens_details":{"cached_tokens":0}}}

      data: {"id":"chatcmpl-id-1","created":1700000000,"model":"tiny","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"u"},"logprobs":null,"finish_reason":null}],"usage":{"prompt_tokens":19,"completion_tokens":1,"total_tokens":20,"prompt_tokens_details":{"cached_tokens":0}}}

      data: {"id":"chatcmpl-id-1","created":1700000000,"model":"tiny","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"s"},"logprobs":null,"finish_reason":"length"}],"usage":{"prompt_tokens":19,"completion_tokens":2,"total_tokens":21,"prompt_tokens_details":{"cached_tokens":0}}}

      data: {"id":"chatcmpl-id-1","created":1700000000,"model":"tiny","object":"chat.completion.chunk","choices":[],"usage":{"prompt_tokens":19,"completion_tokens":2,"total_tokens":21,"prompt_tokens_details":{"cached_tokens":0}}}

      data: [DONE]

      "
    `);
  });
});

describe('the bytes of a connection', () => {
  const head = (version: string, body: string, connection: string) =>
    `POST ${completions} HTTP/${version}\r\nhost: x\r\nconnection: ${connection}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
  const request = JSON.stringify({ prompt: 'é!', max_tokens: 3, stream: true });
  /** As they come, but for the time of the answer. */
  const received = async (...requests: string[]) => {
    const server = await startTestServer();
    running.push(server);
    const bytes = await server.raw(requests.join(''));
    return visible(Buffer.from(bytes, 'latin1'))
      .replaceAll('<d>', '')
      .replaceAll(/^Date: .*$/gm, 'Date: DATE');
  };

  it('has a chunk for each event', async () => {
    expect(await received(head('1.1', request, 'close'))).toMatchInlineSnapshot(`
      "HTTP/1.1 200 OK
      content-type: text/event-stream; charset=utf-8
      cache-control: no-cache, no-transform
      x-accel-buffering: no
      Date: DATE
      Connection: close
      Transfer-Encoding: chunked

      a2
      data: {"id":"cmpl-id-1","object":"text_completion","created":1700000000,"model":"tiny","choices":[{"index":0,"text":"<c3><a9>","logprobs":null,"finish_reason":null}]}


      a5
      data: {"id":"cmpl-id-1","object":"text_completion","created":1700000000,"model":"tiny","choices":[{"index":0,"text":"!","logprobs":null,"finish_reason":"length"}]}


      e
      data: [DONE]


      0

      "
    `);
  });

  it('has no chunks for a client of HTTP/1.0', async () => {
    expect(await received(head('1.0', request, 'close'))).toMatchInlineSnapshot(`
      "HTTP/1.1 200 OK
      content-type: text/event-stream; charset=utf-8
      cache-control: no-cache, no-transform
      x-accel-buffering: no
      Date: DATE
      Connection: close

      data: {"id":"cmpl-id-1","object":"text_completion","created":1700000000,"model":"tiny","choices":[{"index":0,"text":"<c3><a9>","logprobs":null,"finish_reason":null}]}

      data: {"id":"cmpl-id-1","object":"text_completion","created":1700000000,"model":"tiny","choices":[{"index":0,"text":"!","logprobs":null,"finish_reason":"length"}]}

      data: [DONE]

      "
    `);
  });

  it('has one stream after the other for a client that does not wait for the first', async () => {
    const alone = await received(head('1.1', request, 'close'));
    const first = alone.replace('Connection: close', 'Connection: keep-alive\nKeep-Alive: timeout=60');
    expect(await received(head('1.1', request, 'keep-alive'), head('1.1', request, 'close'))).toBe(
      first + alone.replaceAll('cmpl-id-1', 'cmpl-id-2'),
    );
  });
});
