// A server over an engine without a model, for tests of the protocol.
import { once } from 'node:events';
import { connect } from 'node:net';
import type { AddressInfo } from 'node:net';
import { pino } from 'pino';
import { Engine } from '#runtime/engine/engine.ts';
import type { EngineLimits } from '#runtime/engine/engine.ts';
import { byteVocabulary, endOfText, fakeRunner } from '#runtime/engine/fake-runner.ts';
import type { FakeRunnerOptions } from '#runtime/engine/fake-runner.ts';
import type { TextCodec } from './codec.ts';
import { defaultLimits } from './limits.ts';
import type { ServerLimits } from './limits.ts';
import { createServer } from './server.ts';

/** One token per byte. */
export const byteCodec: TextCodec = {
  encode: (text) => [...Buffer.from(text)],
  encodeChat: (messages) => [
    ...Buffer.from(`${messages.map(({ role, content }) => `${role}: ${content}\n`).join('')}assistant:`),
  ],
  tokenBytes: (id) => (id === endOfText ? Buffer.from('<end>') : Uint8Array.of(id)),
};

interface TestServerOptions extends FakeRunnerOptions {
  readonly limits?: Partial<ServerLimits>;
  readonly engineLimits?: Partial<EngineLimits>;
  /** Leave the server without a model. */
  readonly loading?: boolean;
}

export type TestServer = Awaited<ReturnType<typeof startTestServer>>;

/** Listens on a free port of the loopback address. Log lines are collected. */
export async function startTestServer(options: TestServerOptions = {}) {
  const logLines: string[] = [];
  const log = pino({ level: 'info' }, { write: (line: string) => logLines.push(line) });
  const limits = { ...defaultLimits, ...options.limits };
  let id = 0;
  const server = createServer({
    model: 'tiny',
    alias: 'tiny-model',
    limits,
    log,
    now: () => 1_700_000_000_000,
    newId: () => `id-${(id += 1)}`,
  });
  const runner = fakeRunner(options);
  const engine = new Engine({
    runner,
    vocabulary: byteVocabulary,
    limits: {
      contextLength: 128,
      maxSequences: 8,
      maxBatchedTokens: 64,
      maxWaiting: 16,
      prefixCache: true,
      ...options.engineLimits,
    },
    observer: server.observer,
    now: () => performance.now() / 1000,
    randomSeed: () => 1n,
    hashSeed: 'test',
  });
  if (!options.loading) server.serve({ engine, codec: byteCodec });
  await server.app.listen({ host: '127.0.0.1', port: 0 });
  const { port } = server.app.server.address() as AddressInfo;
  const url = `http://127.0.0.1:${port}`;
  return {
    server,
    engine,
    runner,
    url,
    logLines,
    get: (path: string) => fetch(`${url}${path}`),
    post: (path: string, body: unknown, init: RequestInit = {}) =>
      fetch(`${url}${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: typeof body === 'string' || body instanceof Buffer ? body : JSON.stringify(body),
        ...init,
      }),
    /** Sends bytes as they are and gives what comes back until the server closes. */
    async raw(bytes: string | Uint8Array): Promise<string> {
      const socket = connect(port, '127.0.0.1');
      let received = '';
      socket.setEncoding('latin1').on('data', (chunk: string) => (received += chunk));
      socket.on('error', () => {});
      socket.write(bytes);
      await once(socket, 'close');
      return received;
    },
    async close() {
      await engine.close();
      await server.app.close();
    },
  };
}

interface Choice {
  readonly index: number;
  readonly text: string;
  readonly message: { readonly content: string };
  readonly delta: { readonly role?: string; readonly content?: string };
  readonly logprobs: { content: unknown[] };
  readonly finish_reason: string | null;
}

/** Any answer or event of either protocol; a test reads the parts that there must be. */
export interface Answer {
  readonly id: string;
  readonly choices: readonly Choice[];
  readonly prompt_logprobs?: unknown[];
  readonly usage: { readonly prompt_tokens: number; readonly completion_tokens: number };
  readonly error: { readonly message: string; readonly type: string; readonly param: string | null; readonly code: string };
}

export async function readAnswer(response: Response | Promise<Response>): Promise<Answer> {
  return (await (await response).json()) as Answer;
}

/** The events of a stream up to [DONE], and whether that came. */
export async function readEvents(response: Response | Promise<Response>): Promise<{ events: Answer[]; done: boolean }> {
  const texts = (await (await response).text()).split('\n\n').filter((event) => event !== '');
  const data = texts.map((event) => {
    if (!event.startsWith('data: ')) throw new Error(`not an event: ${event}`);
    return event.slice('data: '.length);
  });
  const done = data.at(-1) === '[DONE]';
  return { events: data.slice(0, done ? -1 : undefined).map((text) => JSON.parse(text) as Answer), done };
}
