// One request to an http(s) server: credentials, redirects, proxies, deadlines, and what a failure means.
import http from 'node:http';
import https from 'node:https';
import { getCACertificates } from 'node:tls';
import { WindlassError } from '#runtime/api/errors.ts';
import { guardedLookup, isForbidden } from './addresses.ts';
import { authorities, authorization } from './credentials.ts';
import { mayPass, patience, retryAfter, Setback } from './patience.ts';
import type { Patience } from './patience.ts';
import { Reply } from './reply.ts';
import { shown } from './url.ts';

export interface RemoteOptions {
  /** Folder of the Secret that the server wants; none if absent. */
  readonly secretDir?: string | undefined;
  readonly patience?: Patience;
  /** HTTP_PROXY, HTTPS_PROXY and NO_PROXY; those of this process if absent. */
  readonly proxies?: NodeJS.ProcessEnv;
  /** Ends what goes on, and the waiting for another try, with its reason. */
  readonly signal?: AbortSignal | undefined;
  /** Told of each fault that another try follows: what it was, and in how many milliseconds. */
  readonly onSetback?: (words: string, pauseMs: number) => void;
}

export interface Ask {
  readonly method: 'GET' | 'HEAD' | 'PUT' | 'MKCOL';
  readonly headers?: Readonly<Record<string, string>>;
  /** Opens the body anew for each request that needs it. */
  readonly body?: () => NodeJS.ReadableStream;
}

const longestChain = 5;
/** A server that knows nothing of `Expect: 100-continue` gets the body after this time. */
const continueMs = 1000;
const redirects = new Set([301, 302, 303, 307, 308]);

export class RemoteClient implements Disposable {
  readonly patience: Patience;
  readonly options: RemoteOptions;
  #agents: { 'http:': http.Agent; 'https:': https.Agent } | undefined;

  constructor(options: RemoteOptions = {}) {
    this.options = options;
    this.patience = options.patience ?? patience;
  }

  /**
   * Asks, and follows redirects: never from https to http, and to another origin without the credentials. The caller reads the answer or destroys
   * it; its status is one of success, or 304, 412 or 416. Throws Setback where another try may help, else WL_REMOTE_REFUSED or WL_SECRET_INVALID.
   */
  async ask(url: URL, ask: Ask): Promise<Reply> {
    let at = url;
    let known = true;
    for (let hops = 0; ; hops += 1) {
      const reply = await this.#send(at, ask, known);
      const { status } = reply;
      if (status < 300 || status === 304 || status === 412 || status === 416) return reply;
      reply.destroy();
      const { location } = reply.headers;
      if (!redirects.has(status) || location === undefined) throw refusal(at, ask, reply);
      if (hops === longestChain) throw refused(`${shown(url)} leads through more than ${longestChain} redirects`);
      if (!URL.canParse(location, at)) throw refused(`${shown(at)} leads to something that is no address`);
      const next = new URL(location, at);
      if (next.protocol !== 'https:' && (next.protocol !== 'http:' || at.protocol === 'https:')) {
        throw refused(`${shown(at)} leads to ${shown(next)}: a redirect from https must lead to https`);
      }
      if (ask.method === 'PUT' && status !== 307 && status !== 308) {
        throw refused(`${shown(at)} answered PUT with a redirect of status ${status}; only 307 and 308 keep what is sent`);
      }
      known &&= next.origin === at.origin;
      at = next;
    }
  }

  async #send(url: URL, { method, headers, body }: Ask, known: boolean): Promise<Reply> {
    if (isForbidden(url.hostname.replace(/^\[|\]$/g, ''))) throw refused(`${shown(url)} is a link-local address`);
    const { secretDir } = this.options;
    const proof = known && secretDir !== undefined ? await authorization(secretDir) : undefined;
    const agents = (this.#agents ??= await this.#open());
    const isSecure = url.protocol === 'https:';
    const { signal } = this.options;
    const request = (isSecure ? https : http).request(url, {
      method,
      ...(signal ? { signal } : {}),
      agent: isSecure ? agents['https:'] : agents['http:'],
      headers: {
        'user-agent': 'windlass',
        'accept-encoding': 'identity',
        ...headers,
        ...(proof === undefined ? {} : { authorization: proof }),
        ...(body ? { expect: '100-continue' } : {}),
      },
    });
    return await new Promise<Reply>((resolve, reject) => {
      const { answerMs } = this.patience;
      const deadline = setTimeout(() => request.destroy(new Setback(`no answer in ${answerMs / 1000} s`)), answerMs);
      const fail = (error: Error) => {
        clearTimeout(deadline);
        reject(faultOf(url, error));
      };
      request.on('error', fail);
      request.on('response', (message) => {
        clearTimeout(deadline);
        resolve(new Reply(message));
        // What goes wrong from here on is told by the body.
        request.off('error', fail).on('error', () => {});
      });
      if (!body) request.end();
      else
        sendBody(request, body, () => deadline.refresh()).catch((error: unknown) =>
          request.destroy(error instanceof Error ? error : new Error(String(error))),
        );
    });
  }

  async #open(): Promise<{ 'http:': http.Agent; 'https:': https.Agent }> {
    const { secretDir, proxies = process.env } = this.options;
    const own = secretDir === undefined ? undefined : await authorities(secretDir);
    const common = { keepAlive: true, lookup: guardedLookup, proxyEnv: proxies };
    const ca = own === undefined ? {} : { ca: [...getCACertificates('default'), own] };
    return { 'http:': new http.Agent(common), 'https:': new https.Agent({ ...common, ...ca }) };
  }

  /** Closes all connections. */
  [Symbol.dispose](): void {
    this.#agents?.['http:'].destroy();
    this.#agents?.['https:'].destroy();
  }
}

/** Sends the body once the server wants it: one that answers before it, such as with a redirect, does not get it. */
async function sendBody(request: http.ClientRequest, body: () => NodeJS.ReadableStream, onBytes: () => void): Promise<void> {
  request.flushHeaders();
  const wanted = await new Promise<boolean>((resolve) => {
    const timer = setTimeout(() => resolve(true), continueMs);
    const end = (answer: boolean) => {
      clearTimeout(timer);
      resolve(answer);
    };
    request.once('continue', () => end(true));
    request.once('response', () => end(false));
    request.once('error', () => end(false));
  });
  if (!wanted) {
    request.destroy();
    return;
  }
  for await (const chunk of body()) {
    if (request.destroyed) return;
    onBytes();
    if (!request.write(chunk)) await drained(request);
  }
  request.end();
}

async function drained(request: http.ClientRequest): Promise<void> {
  await new Promise<void>((resolve) => {
    for (const event of ['drain', 'close', 'error']) request.once(event, () => resolve());
  });
}

/** `status`: what the server answered. */
export function refused(message: string, { cause, status }: { cause?: unknown; status?: number } = {}): WindlassError {
  return new WindlassError('WL_REMOTE_REFUSED', message, { cause, details: status === undefined ? {} : { status } });
}

function refusal(url: URL, { method }: Ask, reply: Reply): Error {
  const { status, statusMessage, headers } = reply;
  const said = `${status}${statusMessage === '' ? '' : ` ${statusMessage}`}`;
  const message = `${shown(url)} answered ${method} with ${said}`;
  return mayPass(status)
    ? new Setback(message, { retryAfterMs: retryAfter(headers['retry-after'], Date.now()) })
    : refused(message, { status });
}

/** A certificate does not become valid by trying again; anything else on the way to a server may. */
function faultOf(url: URL, error: Error): Error {
  if (error instanceof Setback) return new Setback(`${shown(url)}: ${error.message}`, { cause: error });
  const { code = '' } = error as NodeJS.ErrnoException;
  const isFinal =
    code === 'ERR_FORBIDDEN' ||
    /^(CERT_|ERR_TLS_CERT|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_|HOSTNAME_MISMATCH|INVALID_CA|ERR_INVALID)/.test(code);
  const message = `${shown(url)}: ${error.message || code}`;
  return isFinal ? refused(message, { cause: error }) : new Setback(message, { cause: error });
}
