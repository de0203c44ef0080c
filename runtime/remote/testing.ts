// For tests: a file server on loopback that can be told to cut, stall, refuse and redirect, and notes what it was asked.
import { createHash } from 'node:crypto';
import http from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Patience } from './patience.ts';

/** Soon tired, so that tests are. */
export const hasty: Patience = {
  firstPauseMs: 5,
  longestPauseMs: 20,
  longestRetryAfterMs: 5000,
  fruitlessMs: 20_000,
  leastTries: 1,
  answerMs: 10_000,
  stallMs: 10_000,
  slowestBytes: 1,
};

export interface Asked {
  readonly method: string;
  readonly path: string;
  readonly headers: http.IncomingHttpHeaders;
}

type Answer = (request: http.IncomingMessage, response: http.ServerResponse) => void;

export class TestServer implements AsyncDisposable {
  /** What there is, by path; PUT adds to it. */
  readonly files = new Map<string, Buffer>();
  readonly asked: Asked[] = [];
  /** Folders that were made; they matter to nobody. */
  readonly folders = new Set<string>();
  /** Answers in place of the usual one, each for one request of GET or PUT. */
  readonly answers: Answer[] = [];
  /** Whether a range is asked for in vain. */
  ignoresRange = false;
  /** Whether answers have no validator. */
  isAnonymous = false;
  readonly #server: http.Server;
  readonly #scheme: string;

  private constructor(server: http.Server, scheme: string) {
    this.#server = server;
    this.#scheme = scheme;
  }

  /** With a certificate for `localhost`: https. */
  static async start(tls?: { key: string; cert: string }): Promise<TestServer> {
    const answer = (request: http.IncomingMessage, response: http.ServerResponse) => test.#answer(request, response);
    const server = tls ? https.createServer(tls, answer) : http.createServer(answer);
    const test: TestServer = new TestServer(server, tls ? 'https' : 'http');
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return test;
  }

  url(path: string): URL {
    const { port } = this.#server.address() as AddressInfo;
    return new URL(`${this.#scheme}://localhost:${port}${path}`);
  }

  /** Those of one method, as `path` or `path range`. */
  askedBy(method: string): string[] {
    const some = this.asked.filter((asked) => asked.method === method);
    return some.map(({ path, headers }) => (headers.range === undefined ? path : `${path} ${headers.range}`));
  }

  #answer(request: http.IncomingMessage, response: http.ServerResponse): void {
    const { method = '', url: path = '', headers } = request;
    this.asked.push({ method, path, headers });
    const special = method === 'HEAD' || method === 'MKCOL' ? undefined : this.answers.shift();
    if (special) special(request, response);
    else if (method === 'MKCOL') response.writeHead(this.folders.has(path) ? 405 : 201).end(() => this.folders.add(path));
    else if (method === 'PUT') this.take(request, response);
    else this.send(request, response);
  }

  /** The usual answer to GET and HEAD; cut off after `cut` bytes of the body, or silent from then on. */
  send(request: http.IncomingMessage, response: http.ServerResponse, cut?: number, isSilent = false): void {
    const { url: path = '', headers, method } = request;
    const whole = this.files.get(new URL(path, 'http://localhost').pathname);
    if (!whole) {
      response.writeHead(404).end();
      return;
    }
    const etag = `"${createHash('sha256').update(whole).digest('hex').slice(0, 16)}"`;
    const from = Number(/^bytes=(\d+)-$/.exec(headers.range ?? '')?.[1] ?? NaN);
    const fits = headers['if-range'] === undefined || headers['if-range'] === etag;
    const isPart = !Number.isNaN(from) && fits && !this.ignoresRange;
    const validator = this.isAnonymous ? {} : { etag };
    if (isPart && from >= whole.length) {
      response.writeHead(416, { ...validator, 'content-range': `bytes */${whole.length}` }).end();
      return;
    }
    const body = isPart ? whole.subarray(from) : whole;
    const range = isPart ? { 'content-range': `bytes ${from}-${whole.length - 1}/${whole.length}` } : {};
    response.writeHead(isPart ? 206 : 200, { ...validator, ...range, 'content-length': body.length });
    if (method === 'HEAD') response.end();
    else if (cut === undefined) response.end(body);
    else response.write(body.subarray(0, cut), () => (isSilent ? undefined : response.socket?.destroy()));
  }

  /** Takes what is sent, if it is what its headers say. */
  take(request: http.IncomingMessage, response: http.ServerResponse): void {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const body = Buffer.concat(chunks);
      const digest = `sha-256=:${createHash('sha256').update(body).digest('base64')}:`;
      const isRight = request.headers['content-digest'] === digest && Number(request.headers['content-length']) === body.length;
      if (isRight) this.files.set(new URL(request.url ?? '', 'http://localhost').pathname, body);
      response.writeHead(isRight ? 201 : 400).end();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
