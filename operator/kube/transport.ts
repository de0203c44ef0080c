// Requests to an API server over HTTP: connections are reused, refusals waited out, credentials asked for each time.
import { Agent as HttpAgent, request as httpRequest } from 'node:http';
import type { ClientRequest, IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import type { ApiServer, Credentials } from './api-server.ts';
import { systemClock } from './clock.ts';
import type { Clock } from './clock.ts';
import { KubeError } from './errors.ts';
import { FlowControl } from './flow-control.ts';
import { errorOfStatus } from './http-error.ts';
import { parseObject } from './object-text.ts';

/** One request, without what is the same for all. */
export interface Call {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Path and query. */
  path: string;
  body?: unknown;
  contentType?: string;
  /** What the caller takes; JSON if absent. */
  accept?: string;
}

/** What an observer learns about each answer; `code` is 0 where there was none. */
interface Answered {
  method: Call['method'];
  host: string;
  code: number;
  seconds: number;
}

export interface TransportOptions {
  clock?: Clock;
  /** Requests under way at once, watches not counted. The server's own flow control is the limit: what it refuses makes them fewer. */
  maxRequests?: number;
  /** Longest wait for an answer. */
  timeoutMs?: number;
  /** A watch that brings nothing for this long is ended, to be begun again. */
  watchIdleMs?: number;
  userAgent?: string;
  onAnswer?: (answered: Answered) => void;
  /** A number in [0, 1) that spreads retries. */
  jitter?: () => number;
}

/** Enough to keep an API server busy. Each is a connection, which costs a handshake after a rest. */
const defaultMaxRequests = 32;
/** What the API server itself gives a request. */
const defaultTimeoutMs = 60_000;
/** The API server sends a bookmark every 60 to 75 seconds, where there is something new to tell. */
const defaultWatchIdleMs = 100_000;
/** The API server closes a connection that rests for 90 s; ours are closed before, so that no request meets one that is just closing. */
const restingConnectionMs = 60_000;
/** A peer that vanished is noticed after this and ten probes, a second apart. */
const keepAliveProbeMs = 15_000;
/** Answers are objects and pages of lists. */
const maxAnswerBytes = 256 * 2 ** 20;

const maxAttempts = 10;
const baseDelayMs = 100;
const maxDelayMs = 10_000;

interface Connections {
  credentials: Credentials;
  requests: HttpAgent | HttpsAgent;
  watches: HttpAgent | HttpsAgent;
}

export class Transport {
  readonly server: ApiServer;
  readonly #options: TransportOptions;
  readonly #clock: Clock;
  readonly #flow: FlowControl;
  readonly #closed = new AbortController();
  #connections: Connections | undefined;

  constructor(server: ApiServer, options: TransportOptions = {}) {
    this.server = server;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#flow = new FlowControl(options.maxRequests ?? defaultMaxRequests, this.#clock);
  }

  /**
   * The parsed body of the answer. Refusals of flow control are waited out, and so are failures of the server for reads; other failures
   * throw KubeError.
   */
  async request(call: Call): Promise<unknown> {
    const closed = this.#closed.signal;
    let fresh = false;
    for (let attempt = 1; ; attempt++) {
      const leave = await this.#flow.enter(closed);
      let failure: Failure;
      try {
        const answer = await this.#answer(call, fresh);
        leave('accepted');
        return answer;
      } catch (error) {
        failure = error as Failure;
        leave(failure.reason === 'TooManyRequests' ? 'refused' : 'failed');
        closed.throwIfAborted();
        if (failure.reason === 'Unauthorized' && !fresh) {
          fresh = true;
          continue;
        }
        if (attempt >= maxAttempts || !mayRepeat(call, failure)) throw error;
      }
      fresh = false;
      await this.#flow.pause(this.#delay(attempt, failure), closed);
    }
  }

  /**
   * The chunks of an answer that goes on until the server or the signal ends it, or nothing has come for long: the API server tells nothing of
   * kinds that nobody touches, and a dead one is found by whoever asks again. Throws KubeError when it is refused or cut.
   */
  async *stream(call: Call, until: AbortSignal): AsyncGenerator<Uint8Array> {
    const signal = AbortSignal.any([until, this.#closed.signal]);
    let response: IncomingMessage;
    try {
      ({ response } = await this.#send(call, false, signal));
    } catch (error) {
      if (signal.aborted) return;
      throw error;
    }
    if (response.statusCode !== 200) throw await this.#refusal(call, response);
    const idleMs = this.#options.watchIdleMs ?? defaultWatchIdleMs;
    let isSilent = false;
    const silent = setTimeout(() => {
      isSilent = true;
      response.destroy();
    }, idleMs).unref();
    try {
      for await (const chunk of response as AsyncIterable<Uint8Array>) {
        silent.refresh();
        yield chunk;
      }
    } catch (cause) {
      if (!signal.aborted && !isSilent)
        throw new KubeError('Unavailable', `${call.method} ${call.path} was cut: ${textOf(cause)}`, { cause });
    } finally {
      clearTimeout(silent);
      response.destroy();
    }
  }

  /**
   * An answer of any status as it comes: of a server that the API server stands in front of. Nothing is tried again. Throws KubeError if there is
   * none.
   */
  async open(call: Call, until: AbortSignal): Promise<IncomingMessage> {
    const { response } = await this.#send(call, false, AbortSignal.any([until, this.#closed.signal]));
    return response;
  }

  /** Ends what is under way. */
  close(): void {
    this.#closed.abort(new KubeError('Unavailable', 'the connection to the API server was closed by this process'));
    this.#connections?.requests.destroy();
    this.#connections?.watches.destroy();
  }

  async #answer(call: Call, fresh: boolean): Promise<unknown> {
    const { response, timer } = await this.#send(call, fresh);
    try {
      const { statusCode = 0 } = response;
      if (statusCode >= 300) throw await this.#refusal(call, response);
      return parseObject(await bodyOf(response));
    } catch (cause) {
      if (cause instanceof KubeError) throw cause;
      throw new KubeError('Unavailable', `${call.method} ${call.path}: the answer can't be read: ${textOf(cause)}`, { cause });
    } finally {
      clearTimeout(timer);
    }
  }

  async #refusal(call: Call, response: IncomingMessage): Promise<KubeError> {
    const text = await bodyOf(response).catch(() => '');
    let body: unknown;
    try {
      body = JSON.parse(text);
    } catch {
      body = undefined;
    }
    const seconds = Number(response.headers['retry-after']);
    const retryAfterMs = response.headers['retry-after'] !== undefined && seconds >= 0 ? seconds * 1000 : undefined;
    return errorOfStatus(response.statusCode ?? 0, body, `${call.method} ${call.path}`, retryAfterMs);
  }

  /** Resolves when the head of the answer has come. A connection that was just closed by the server is not held against the request. */
  async #send(call: Call, fresh: boolean, watch?: AbortSignal) {
    for (let attempt = 1; ; attempt++) {
      const connections = await this.#connect(fresh);
      const startedAt = this.#clock.now();
      const tell = (code: number) =>
        this.#options.onAnswer?.({
          method: call.method,
          host: this.server.url.host,
          code,
          seconds: (this.#clock.now() - startedAt) / 1000,
        });
      let request: ClientRequest | undefined;
      let timer: NodeJS.Timeout | undefined;
      try {
        const response = await new Promise<IncomingMessage>((resolve, reject) => {
          const made = this.#open(call, connections, watch);
          request = made;
          const timeoutMs = this.#options.timeoutMs ?? defaultTimeoutMs;
          timer = setTimeout(() => made.destroy(new Error(`no answer within ${timeoutMs / 1000} s`)), timeoutMs);
          made.on('socket', (socket) => socket.setKeepAlive(true, keepAliveProbeMs));
          made.on('response', resolve);
          made.on('error', reject);
        });
        tell(response.statusCode ?? 0);
        if (watch) clearTimeout(timer);
        return { response, timer };
      } catch (cause) {
        clearTimeout(timer);
        tell(0);
        (watch ?? this.#closed.signal).throwIfAborted();
        if (attempt === 1 && request?.reusedSocket && (cause as NodeJS.ErrnoException).code === 'ECONNRESET') continue;
        throw new KubeError('Unavailable', `${call.method} ${this.server.url.origin}${call.path}: ${textOf(cause)}`, { cause });
      }
    }
  }

  #open(call: Call, { credentials, requests, watches }: Connections, watch?: AbortSignal): ClientRequest {
    const { url } = this.server;
    const body = call.body === undefined ? undefined : Buffer.from(JSON.stringify(call.body));
    const options = {
      agent: watch ? watches : requests,
      method: call.method,
      hostname: url.hostname.replace(/^\[|\]$/g, ''),
      port: url.port === '' ? undefined : Number(url.port),
      path: `${url.pathname.replace(/\/$/, '')}${call.path}`,
      ...(watch ? { signal: watch } : {}),
      headers: {
        accept: call.accept ?? 'application/json',
        'user-agent': this.#options.userAgent ?? 'windlass',
        ...(body ? { 'content-type': call.contentType ?? 'application/json', 'content-length': body.length } : {}),
        ...credentials.headers,
      },
    };
    return (url.protocol === 'https:' ? httpsRequest(options) : httpRequest(options)).end(body);
  }

  /** The connections for today's credentials: new certificates need new ones, new tokens do not. */
  async #connect(fresh: boolean): Promise<Connections> {
    const credentials = await this.server.credentials({ fresh });
    const current = this.#connections;
    if (current && sameChannel(current.credentials, credentials)) {
      current.credentials = credentials;
      return current;
    }
    const { headers: _, ...tls } = credentials;
    const shared = { keepAlive: true, timeout: restingConnectionMs };
    const agent = (maxSockets: number) =>
      this.server.url.protocol === 'https:'
        ? new HttpsAgent({ ...shared, ...tls, maxSockets })
        : new HttpAgent({ ...shared, maxSockets });
    // Old connections finish what they carry, rest, and are closed.
    const made = { requests: agent(this.#options.maxRequests ?? defaultMaxRequests), watches: agent(Infinity) };
    this.#connections = { credentials, ...made };
    return this.#connections;
  }

  #delay(attempt: number, { retryAfterMs }: Failure): number {
    const jitter = (this.#options.jitter ?? Math.random)();
    const backoffMs = Math.min(maxDelayMs, baseDelayMs * 2 ** (attempt - 1));
    return retryAfterMs === undefined ? backoffMs * (0.5 + jitter) : retryAfterMs + jitter * baseDelayMs;
  }
}

type Failure = Pick<KubeError, 'reason' | 'retryAfterMs'>;

/** What flow control refused was not begun, and a server that says when to come back wants to be asked again; else a write may have happened. */
function mayRepeat(call: Call, { reason, retryAfterMs }: Failure): boolean {
  if (reason === 'TooManyRequests') return true;
  if (retryAfterMs === undefined) return false;
  return reason === 'Unavailable' || (call.method === 'GET' && (reason === 'Internal' || reason === 'Timeout'));
}

function sameChannel(a: Credentials, b: Credentials): boolean {
  const same = (x: string | Buffer | undefined, y: string | Buffer | undefined) => x === y || String(x) === String(y);
  return same(a.ca, b.ca) && same(a.cert, b.cert) && same(a.key, b.key);
}

/** By events: half the CPU time of an iteration, and every answer passes here. */
function bodyOf(response: IncomingMessage): Promise<string> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    response.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes > maxAnswerBytes) response.destroy(new Error(`the answer is longer than ${maxAnswerBytes} bytes`));
    });
    response.on('end', () => resolve((chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)).toString('utf8')));
    response.on('error', reject);
    const closed = () => reject(new Error('the connection was closed'));
    response.on('close', closed);
    if (response.destroyed) closed();
  });
}

function textOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message || String((thrown as NodeJS.ErrnoException).code) : String(thrown);
}
