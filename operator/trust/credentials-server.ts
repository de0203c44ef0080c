// Serves credentials to pods of jobs over HTTPS. Whatever this says no to, it says why: the pod logs it, and asks again.
import { createServer } from 'node:https';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Logger } from 'pino';
import { listenAddress } from '#operator/framework/health-server.ts';
import type { KubeClient } from '#operator/kube/client.ts';
import { KubeError } from '#operator/kube/errors.ts';
import { credentialsPath, CredentialsRequest } from '#runtime/api/credentials.ts';
import type { CredentialsAnswer } from '#runtime/api/credentials.ts';
import type { Trust } from './authority-keeper.ts';
import { entitlementOf, Refusal } from './entitlement.ts';
import type { BoundPod, Known } from './entitlement.ts';
import { grant } from './grant.ts';
import type { GrantRules } from './grant.ts';
import { RateLimit } from './rate-limit.ts';
import { claimedPod, reviewedPod } from './token.ts';

export interface CredentialsOptions {
  readonly client: Pick<KubeClient, 'create'>;
  readonly known: (pod: BoundPod) => Known;
  /** undefined: not known yet. */
  readonly trust: () => Trust | undefined;
  readonly now: () => number;
  readonly rules: () => GrantRules;
  /** Each answer by its HTTP status. */
  readonly onAnswer?: (status: number) => void;
  readonly log: Logger;
}

export interface TlsFiles {
  /** PEM; the certificate with those that stand between it and an authority. */
  readonly cert: string;
  readonly key: string;
}

export interface CredentialsServer {
  readonly port: number;
  /** New connections are served with these. */
  renew(files: TlsFiles): void;
  close(): Promise<void>;
}

const maxBodyBytes = 4_096;
/** A pod asks in one small message. */
const requestTimeoutMs = 10_000;
const maxConnections = 512;
/** Requests that wait for the API server at the same time; more are told to come back. */
const maxReviews = 32;
/** A pod asks when it starts and when its certificate grows old; one whose container ends again and again asks each time. */
const podRate = { burst: 10, everyMs: 5_000 };
/** Tokens that look like those of a pod of ours, and that the API server does not take: no honest pod has one for long. */
const forgeryRate = { burst: 10, everyMs: 5_000 };
/** For whom nothing can be said about when there is room. */
const retryMs = 1_000;

/** Listens at `address` (HOST:PORT or :PORT). */
export async function serveCredentials(
  address: string,
  files: TlsFiles,
  options: CredentialsOptions,
): Promise<CredentialsServer> {
  let reviews = 0;
  const pods = new RateLimit(podRate);
  const forgers = new RateLimit(forgeryRate);
  const answer = async (request: IncomingMessage): Promise<CredentialsAnswer> => {
    const token = /^Bearer ([\w.-]+)$/.exec(request.headers.authorization ?? '')?.[1];
    if (token === undefined) throw new Refusal(401, 'a token is needed as Authorization: Bearer');
    const claimed = claimedPod(token, options.now());
    // A token of a pod that is not ours is not worth a question.
    entitlementOf(claimed, options.known(claimed));
    const asked = await readRequest(request);
    const trust = options.trust();
    if (!trust) throw new Refusal(503, 'the authority is not known yet');
    const { remoteAddress = '' } = request.socket;
    refuseUntil(pods.waitMs(claimed.uid, options.now()), `pod ${claimed.namespace}/${claimed.name} asks too often`);
    refuseUntil(forgers.waitMs(remoteAddress, options.now()), 'too many tokens from here were not good');
    if (reviews >= maxReviews) refuseUntil(retryMs, 'too many requests at once');
    reviews += 1;
    try {
      const pod = await reviewedPod(options.client, token).catch((error: unknown) => {
        if (error instanceof Refusal) forgers.take(remoteAddress, options.now());
        throw error;
      });
      // Counted for whom the API server says it is: nobody can use up what another pod has.
      refuseUntil(pods.take(pod.uid, options.now()), `pod ${pod.namespace}/${pod.name} asks too often`);
      const entitlement = entitlementOf(pod, options.known(pod));
      const granted = await grant(entitlement, asked, token, trust, options.now(), options.rules());
      options.log.info({ pod: `${pod.namespace}/${pod.name}`, attempt: entitlement.attempt }, 'gave credentials');
      return granted;
    } finally {
      reviews -= 1;
    }
  };
  const server = createServer({ ...files, minVersion: 'TLSv1.3' }, (request, response) => {
    if (request.url !== credentialsPath || request.method !== 'POST')
      return send(response, 404, { reason: `POST ${credentialsPath}` });
    answer(request).then(
      (granted) => {
        options.onAnswer?.(200);
        send(response, 200, granted);
      },
      (error: unknown) => {
        const status = error instanceof Refusal ? error.status : error instanceof KubeError ? 503 : 500;
        const reason = status === 500 ? 'the operator failed; its log says why' : (error as Error).message;
        if (status === 500) options.log.error({ err: error }, 'a request for credentials failed');
        else options.log[status === 429 ? 'debug' : 'info']({ reason, status }, 'refused credentials');
        options.onAnswer?.(status);
        send(response, status, { reason }, error instanceof Refusal ? error.retryMs : undefined);
      },
    );
  });
  server.requestTimeout = requestTimeoutMs;
  server.headersTimeout = requestTimeoutMs;
  server.maxConnections = maxConnections;
  await listen(server, address);
  return {
    port: (server.address() as AddressInfo).port,
    renew: (renewed) => server.setSecureContext({ ...renewed, minVersion: 'TLSv1.3' }),
    async close() {
      server.closeIdleConnections();
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
    },
  };
}

function refuseUntil(waitMs: number, reason: string): void {
  if (waitMs > 0) throw new Refusal(429, reason, waitMs);
}

async function listen(server: Server, address: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(listenAddress(address), resolve);
  });
}

async function readRequest(request: IncomingMessage): Promise<CredentialsRequest> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > maxBodyBytes) throw new Refusal(400, `the request is larger than ${maxBodyBytes} bytes`);
    parts.push(part);
  }
  try {
    return CredentialsRequest.parse(JSON.parse(Buffer.concat(parts).toString()));
  } catch {
    throw new Refusal(400, 'the request is not one for credentials: publicKey, proof and busUser are needed, and nothing else');
  }
}

function send(response: ServerResponse, status: number, body: object, retryAfterMs?: number): void {
  if (response.destroyed) return;
  const retry = retryAfterMs === undefined ? {} : { 'retry-after': String(Math.ceil(retryAfterMs / 1000)) };
  const head: Record<string, string> = {
    'content-type': 'application/json',
    'cache-control': 'no-store',
    connection: 'close',
    ...retry,
  };
  response.writeHead(status, head);
  response.end(JSON.stringify(body));
}
