// What an operator tells about itself over HTTP: whether it lives, whether it is ready, its metrics, and profiles of it.
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

interface Page {
  status: number;
  contentType: string;
  body: string;
}

/** Pages by path. A page that throws is a 500 with its message. */
export type Pages = Readonly<Record<string, (query: URLSearchParams) => Promise<Page> | Page>>;

export interface Served {
  readonly port: number;
  close(): Promise<void>;
}

/** Serves pages at `host:port`, `:port` or `[host]:port`; port 0 takes any. Throws if the address can't be had. */
export async function servePages(address: string, pages: Pages): Promise<Served> {
  const listening = listenAddress(address);
  const server = createServer((request, response) => void answer(pages, request, response));
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(listening, resolve);
  });
  return { port: (server.address() as AddressInfo).port, close: () => closeServer(server) };
}

/** `ok` with 200, or the reason why not with 503. */
export function probe(problem: () => string | undefined): () => Page {
  return () => {
    const found = problem();
    return { status: found === undefined ? 200 : 503, contentType: 'text/plain', body: `${found ?? 'ok'}\n` };
  };
}

async function answer(pages: Pages, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://localhost');
  const page = Object.hasOwn(pages, url.pathname) ? pages[url.pathname] : undefined;
  const { status, contentType, body } = await made(page, request.method ?? 'GET', url.searchParams);
  response.writeHead(status, { 'content-type': contentType, 'content-length': Buffer.byteLength(body) });
  response.end(request.method === 'HEAD' ? undefined : body);
}

async function made(page: Pages[string] | undefined, method: string, query: URLSearchParams): Promise<Page> {
  const text = (status: number, body: string): Page => ({ status, contentType: 'text/plain', body: `${body}\n` });
  if (!page) return text(404, 'not found');
  if (method !== 'GET' && method !== 'HEAD') return text(405, 'only GET');
  try {
    return await page(query);
  } catch (error) {
    return text(500, (error as Error).message);
  }
}

/** What to listen on, for `HOST:PORT`, `:PORT` or `[HOST]:PORT`. Throws if the text is none of these. */
export function listenAddress(address: string): { host?: string; port: number } {
  const match = /^(?:\[(.*)\]|([^:]*)):(\d+)$/.exec(address);
  if (!match || Number(match[3]) > 65_535) throw new Error(`${address} is no address: give HOST:PORT or :PORT`);
  const host = match[1] ?? match[2] ?? '';
  return { port: Number(match[3]), ...(host === '' ? {} : { host }) };
}

async function closeServer(server: Server): Promise<void> {
  await new Promise((resolve) => {
    server.close(resolve);
    server.closeAllConnections();
  });
}
