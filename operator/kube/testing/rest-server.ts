// A real HTTPS server with the paths, verbs and answers of an API server, over the in-memory API: what tests let the HTTP client talk to.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KubeObject, ResourceType } from '#crds/resource.ts';
import { formatPath } from '#crds/faults.ts';
import { resources } from '#crds/v1alpha1/index.ts';
import type { ApiServer, Credentials } from '../api-server.ts';
import { apiVersionOf } from '../client.ts';
import type { ObjectKey, WatchEvent } from '../client.ts';
import { Event, Lease, Pod, Service } from '../core.ts';
import { KubeError } from '../errors.ts';
import type { JsonObject } from '../json.ts';
import { MemoryKube } from '../memory-kube.ts';

/** A certificate for 127.0.0.1, its own authority, and a client's too: made anew for every process. */
export const testCertificate = makeCertificate();

function makeCertificate(): { readonly cert: string; readonly key: string; readonly ca: string } {
  const settings = '[req]\nprompt=no\ndistinguished_name=name\nx509_extensions=more\n[name]\nCN=windlass test\n[more]\n';
  const extensions = 'subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=critical,CA:TRUE\n';
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', '-'];
  const folder = mkdtempSync(join(tmpdir(), 'wl-rest-'));
  writeFileSync(join(folder, 'settings'), settings + extensions);
  const made = execFileSync('openssl', ['req', '-x509', '-config', join(folder, 'settings'), ...key, '-out', '-'], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  rmSync(folder, { recursive: true });
  const pem = (kind: string) => new RegExp(`-----BEGIN ${kind}-----[^-]+-----END ${kind}-----\n`).exec(made)![0];
  return { cert: pem('CERTIFICATE'), key: pem('PRIVATE KEY'), ca: pem('CERTIFICATE') };
}

export interface RestServer {
  readonly kube: MemoryKube;
  readonly url: URL;
  /** Requests so far: `GET /api/v1/pods?limit=500`. */
  readonly requests: string[];
  /** TLS handshakes so far. */
  readonly handshakes: number;
  /** Answers a request in its place; true if it did. */
  intercept: (request: IncomingMessage, response: ServerResponse) => boolean;
  /** Whether watches may begin with what exists. */
  watchList: boolean;
  /** Most objects of a page, whatever is asked for. */
  pageSize: number;
  /** Cuts all connections. */
  cut(): void;
  /** Access without anything to prove. */
  access(credentials?: Partial<Credentials>): ApiServer;
  close(): Promise<void>;
}

type Query = URLSearchParams;

const types: readonly ResourceType[] = [...resources, Pod, Service, Event, Lease];

export async function startRestServer(kube = new MemoryKube()): Promise<RestServer> {
  let handshakes = 0;
  const sockets = new Set<Socket>();
  const pages = new Map<string, { items: KubeObject[]; resourceVersion: string }>();
  const server = createServer({ ...testCertificate, requestCert: true, rejectUnauthorized: false }, (request, response) => {
    rest.requests.push(`${request.method} ${decodeURIComponent(request.url ?? '')}`);
    if (rest.intercept(request, response)) return;
    answer(rest, pages, request, response).catch((error: unknown) => refuse(response, error));
  });
  server.on('secureConnection', (socket) => {
    handshakes += 1;
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => {});
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = new URL(`https://127.0.0.1:${(server.address() as AddressInfo).port}`);
  const rest: RestServer = {
    kube,
    url,
    requests: [],
    get handshakes() {
      return handshakes;
    },
    intercept: () => false,
    watchList: true,
    pageSize: 500,
    cut() {
      for (const socket of sockets) socket.destroy();
    },
    access: (credentials = {}) => ({
      url,
      namespace: 'default',
      credentials: async () => ({ headers: {}, ca: testCertificate.ca, ...credentials }),
    }),
    async close() {
      rest.cut();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return rest;
}

/** Answers with JSON. */
export function reply(response: ServerResponse, code: number, body: unknown, headers: Record<string, string> = {}): void {
  response.writeHead(code, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify(body));
}

/** A meta/v1 Status. */
export function status(code: number, reason: string, message: string, details: object = {}) {
  return { kind: 'Status', apiVersion: 'v1', status: 'Failure', code, reason, message, details };
}

function refuse(response: ServerResponse, error: unknown): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  if (!(error instanceof KubeError)) {
    reply(response, 500, status(500, 'InternalError', String(error)));
    return;
  }
  const causes = error.faults.map(({ path, message }) => ({ field: formatPath(path), message, reason: 'FieldValueInvalid' }));
  reply(response, error.status, status(error.status, error.reason, error.message, causes.length > 0 ? { causes } : {}));
}

async function answer(
  rest: RestServer,
  pages: Map<string, { items: KubeObject[]; resourceVersion: string }>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const url = new URL(request.url ?? '/', 'https://localhost');
  const { kube } = rest;
  const served = resourcesOf(url.pathname);
  if (served.length > 0) return reply(response, 200, { kind: 'APIResourceList', resources: served });
  const { type, key, subresource } = parsePath(url.pathname);
  const query = url.searchParams;
  const body = await bodyOf(request);
  const { method } = request;
  if (key.name === '') {
    if (method === 'POST') {
      const made = await kube.create(type, body as unknown as KubeObject);
      return reply(response, 201, request.headers.accept?.includes('as=PartialObjectMetadata') ? metadataOf(made) : made);
    }
    if (query.get('watch') === '1') return watch(rest, type, key, query, response);
    return list(rest, pages, type, key, query, response);
  }
  if (method === 'GET') return reply(response, 200, await kube.get(type, key));
  if (method === 'PUT') return reply(response, 200, await kube.update(type, body as unknown as KubeObject));
  if (method === 'DELETE') {
    const { preconditions, propagationPolicy: propagation, gracePeriodSeconds } = body as DeleteBody;
    const left = await kube.delete(type, key, {
      ...preconditions,
      ...(propagation ? { propagation } : {}),
      ...(gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds }),
    });
    return reply(response, 200, left ?? { kind: 'Status', apiVersion: 'v1', status: 'Success' });
  }
  if (request.headers['content-type'] === 'application/apply-patch+yaml') {
    const options = { fieldManager: query.get('fieldManager') ?? '', force: query.get('force') === 'true' };
    return reply(response, 200, await kube.apply(type, body as unknown as KubeObject, options));
  }
  const { metadata: { uid, resourceVersion, ...metadata } = {}, ...left } = body as PatchBody;
  const preconditions = { uid, resourceVersion };
  const patched =
    subresource === 'status'
      ? await kube.patchStatus(type, key, body['status'] ?? {}, preconditions)
      : await kube.patch(type, key, { ...left, metadata }, preconditions);
  return reply(response, 200, patched);
}

function metadataOf({ metadata }: KubeObject): KubeObject {
  return { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata };
}

interface DeleteBody {
  preconditions?: { uid?: string; resourceVersion?: string };
  propagationPolicy?: 'Background' | 'Orphan';
  gracePeriodSeconds?: number;
}

interface PatchBody extends JsonObject {
  metadata?: { uid?: string; resourceVersion?: string } & JsonObject;
}

/** What discovery tells of a version of a group; nothing of other paths. */
function resourcesOf(path: string): { name: string; kind: string }[] {
  const [, group = '', version] = /^\/(?:api|apis\/([^/]+))\/([^/]+)$/.exec(path) ?? [];
  return types
    .filter((type) => type.group === group && type.version === version)
    .map(({ plural, kind }) => ({ name: plural, kind }));
}

function parsePath(path: string): { type: ResourceType; key: ObjectKey; subresource: string | undefined } {
  const match = /^\/(?:api|apis\/([^/]+))\/([^/]+)(?:\/namespaces\/([^/]+))?\/([^/]+)(?:\/([^/]+))?(?:\/([^/]+))?$/.exec(path);
  const [, group = '', version, namespace, plural, name = '', subresource] = match ?? [];
  const type = types.find((known) => known.group === group && known.version === version && known.plural === plural);
  if (!type) throw new KubeError('NotFound', `the server could not find ${path}`);
  const key = { namespace: namespace === undefined ? undefined : decodeURIComponent(namespace), name: decodeURIComponent(name) };
  return { type, key, subresource };
}

function selector(query: Query, key: ObjectKey) {
  const pairs = (name: string): Record<string, string> => {
    const parts = (query.get(name) ?? '').split(',').filter((pair) => pair !== '');
    return Object.fromEntries(parts.map((pair) => pair.split('=') as [string, string]));
  };
  return { namespace: key.namespace, labels: pairs('labelSelector'), fields: pairs('fieldSelector') };
}

async function list(
  rest: RestServer,
  pages: Map<string, { items: KubeObject[]; resourceVersion: string }>,
  type: ResourceType,
  key: ObjectKey,
  query: Query,
  response: ServerResponse,
): Promise<void> {
  const token = query.get('continue');
  const found = token === null ? await rest.kube.list(type, selector(query, key)) : pages.get(token);
  if (!found) return reply(response, 410, status(410, 'Expired', 'The provided continue parameter is too old'));
  const limit = query.has('limit') ? Math.min(rest.pageSize, Number(query.get('limit'))) : Infinity;
  const items = found.items.slice(0, limit).map((item) => ({ ...item, apiVersion: undefined, kind: undefined }));
  const left = found.items.slice(items.length);
  const next = left.length === 0 ? undefined : `page-${pages.size + 1}`;
  if (next !== undefined) pages.set(next, { items: left, resourceVersion: found.resourceVersion });
  const metadata = { resourceVersion: found.resourceVersion, ...(next === undefined ? {} : { continue: next }) };
  reply(response, 200, { kind: `${type.kind}List`, apiVersion: apiVersionOf(type), metadata, items });
}

async function watch(
  rest: RestServer,
  type: ResourceType,
  key: ObjectKey,
  query: Query,
  response: ServerResponse,
): Promise<void> {
  const initial = query.get('sendInitialEvents') === 'true';
  if (initial && !rest.watchList)
    return reply(response, 422, status(422, 'Invalid', 'sendInitialEvents: Forbidden: WatchList is disabled'));
  const closed = new AbortController();
  response.on('close', () => closed.abort());
  const events = rest.kube.watch(type, {
    ...selector(query, key),
    ...(initial ? {} : { resourceVersion: query.get('resourceVersion') ?? '' }),
    bookmarks: query.get('allowWatchBookmarks') === 'true',
    signal: closed.signal,
  });
  try {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    for await (const event of events) response.write(`${JSON.stringify(lineOf(type, event))}\n`);
  } catch (error) {
    const { status: code, reason, message } = error as KubeError;
    response.write(`${JSON.stringify({ type: 'ERROR', object: status(code, reason, message) })}\n`);
  }
  response.end();
}

function lineOf(type: ResourceType, event: WatchEvent<KubeObject>): object {
  if (event.type !== 'BOOKMARK') return event;
  const annotations = event.initialEventsEnd ? { annotations: { 'k8s.io/initial-events-end': 'true' } } : {};
  const metadata = { resourceVersion: event.resourceVersion, ...annotations };
  return { type: 'BOOKMARK', object: { apiVersion: apiVersionOf(type), kind: type.kind, metadata } };
}

async function bodyOf(request: IncomingMessage): Promise<JsonObject> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of request as AsyncIterable<Uint8Array>) chunks.push(chunk);
  return chunks.length === 0 ? {} : (JSON.parse(Buffer.concat(chunks).toString('utf8')) as JsonObject);
}
