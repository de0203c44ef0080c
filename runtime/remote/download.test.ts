// Files from servers that break off, stall, change their mind, lead elsewhere and lie: what arrives is right, or is not there.
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { ServerResponse } from 'node:http';
import { connect } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { issue, newAuthority, newKey } from '#operator/trust/x509.ts';
import { RemoteClient } from './client.ts';
import type { RemoteOptions } from './client.ts';
import { download } from './download.ts';
import type { DownloadOptions } from './download.ts';
import { hasty, TestServer } from './testing.ts';

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
const text = randomBytes(300_000);
const other = randomBytes(300_000);

let root: string;
let path: string;
let server: TestServer;

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'wl-remote-'));
  path = join(root, 'data/text.txt');
  server = await TestServer.start();
  server.files.set('/text.txt', text);
});
afterEach(async () => {
  await server[Symbol.asyncDispose]();
  rmSync(root, { recursive: true });
});

async function fetched(options: Partial<DownloadOptions> & { url?: URL; client?: RemoteOptions } = {}) {
  using client = new RemoteClient({ patience: hasty, proxies: {}, ...options.client });
  const { url = server.url('/text.txt'), client: _, ...rest } = options;
  return await download(client, url, { path, sha256: sha256(text), ...rest });
}

const left = () => (existsSync(join(root, 'data')) ? readdirSync(join(root, 'data')) : []);
const statusOf =
  (status: number, headers: Record<string, string> = {}) =>
  (_: unknown, response: ServerResponse) =>
    void response.writeHead(status, headers).end();

describe('a file from a server', () => {
  it('is what its digest says, and is not fetched twice', async () => {
    const told: [number, number | undefined][] = [];
    expect(await fetched({ onBytes: (...of) => told.push(of) })).toEqual({ bytes: text.length, sha256: sha256(text) });
    expect(readFileSync(path).equals(text)).toBe(true);
    expect(told[0]).toEqual([0, text.length]);
    expect(told.at(-1)).toEqual([text.length, text.length]);
    expect(await fetched()).toEqual({ bytes: text.length, sha256: sha256(text) });
    expect(server.askedBy('GET')).toEqual(['/text.txt']);
    expect(left()).toEqual(['text.txt']);
  });

  it('is fetched again when a bit of it has flipped on disk', async () => {
    await fetched();
    const bytes = readFileSync(path);
    bytes[1000]! ^= 1;
    writeFileSync(path, bytes);
    await fetched();
    expect(readFileSync(path).equals(text)).toBe(true);
  });

  it('goes on where connections break, and asks for the rest only', async () => {
    server.answers.push((request, response) => server.send(request, response, 100_000));
    server.answers.push((request, response) => server.send(request, response, 50_000));
    const setbacks: string[] = [];
    await fetched({ client: { onSetback: (words) => setbacks.push(words) } });
    expect(readFileSync(path).equals(text)).toBe(true);
    expect(server.askedBy('GET')).toEqual(['/text.txt', '/text.txt bytes=100000-', '/text.txt bytes=150000-']);
    expect(setbacks).toHaveLength(2);
    expect(setbacks[0]).toContain('the connection broke');
  });

  it('begins anew where the server ignores ranges, or has no validator for what it sent', async () => {
    server.ignoresRange = true;
    server.answers.push((request, response) => server.send(request, response, 100_000));
    await fetched();
    expect(readFileSync(path).equals(text)).toBe(true);
    rmSync(path);
    server.isAnonymous = true;
    server.answers.push((request, response) => server.send(request, response, 100_000));
    await fetched();
    expect(readFileSync(path).equals(text)).toBe(true);
    expect(server.askedBy('GET').slice(2)).toEqual(['/text.txt', '/text.txt']);
  });

  it('is never put together from two files that the server had under the address', async () => {
    server.answers.push((request, response) => server.send(request, response, 100_000));
    server.answers.push((request, response) => {
      server.files.set('/text.txt', other);
      server.send(request, response);
    });
    const digest = sha256(other);
    expect(await fetched({ sha256: digest })).toEqual({ bytes: other.length, sha256: digest });
    expect(readFileSync(path).equals(other)).toBe(true);
    expect(server.askedBy('GET')).toHaveLength(2);
  });

  it('is fetched whole once more when a server that mixes files up has spoilt it', async () => {
    server.answers.push((request, response) => server.send(request, response, 100_000));
    server.answers.push((_, response) => {
      const body = other.subarray(100_000);
      const headers = { 'content-range': `bytes 100000-${text.length - 1}/${text.length}`, 'content-length': body.length };
      response.writeHead(206, headers).end(body);
    });
    await fetched();
    expect(readFileSync(path).equals(text)).toBe(true);
    expect(server.askedBy('GET')).toHaveLength(3);
  });

  it('is not there when it has another digest, which the error names beside the one that was asked for', async () => {
    const wanted = sha256(other);
    await expect(fetched({ sha256: wanted })).rejects.toMatchObject({
      code: 'WL_DIGEST_MISMATCH',
      message: `${server.url('/text.txt').href} has digest sha256:${sha256(text)}; sha256:${wanted} is asked for`,
    });
    expect(left()).toEqual([]);
    expect(server.asked).toHaveLength(1);
  });

  it('is waited for as long as Retry-After says', async () => {
    server.answers.push(statusOf(503, { 'retry-after': '1' }), statusOf(429, { 'retry-after': 'soon' }), statusOf(500));
    const pauses: number[] = [];
    await fetched({ client: { onSetback: (_, pause) => pauses.push(pause) } });
    expect(pauses).toHaveLength(3);
    expect(pauses[0]).toBeGreaterThanOrEqual(1000);
    expect(Math.max(...pauses.slice(1))).toBeLessThan(1000);
  });

  it('is given up when nothing comes for too long, or the server wants more time than that, and can be resumed then', async () => {
    server.answers.push((request, response) => server.send(request, response, 100_000));
    server.answers.push(statusOf(503, { 'retry-after': '3600' }));
    await expect(fetched()).rejects.toMatchObject({
      code: 'WL_REMOTE_UNAVAILABLE',
      message: expect.stringContaining('answered GET with 503 Service Unavailable, and wants to be asked again in 3600 s'),
    });
    server.answers.push(...Array.from({ length: 1000 }, () => statusOf(502)));
    await expect(fetched({ client: { patience: { ...hasty, fruitlessMs: 50 } } })).rejects.toMatchObject({
      code: 'WL_REMOTE_UNAVAILABLE',
      message: expect.stringContaining('502 Bad Gateway'),
    });
    server.answers.length = 0;
    await fetched();
    expect(server.askedBy('GET').at(-1)).toBe('/text.txt bytes=100000-');
    expect(readFileSync(path).equals(text)).toBe(true);
  });

  it('comes from a server that falls silent in the middle, by another connection', async () => {
    server.answers.push((request, response) => server.send(request, response, 100_000, true));
    server.answers.push(() => {});
    await fetched({ client: { patience: { ...hasty, stallMs: 300, answerMs: 300 } } });
    expect(readFileSync(path).equals(text)).toBe(true);
  });

  it('stops when it is told to, in the middle or while it waits, and keeps what has come', async () => {
    for (const isWaiting of [false, true]) {
      const stop = new AbortController();
      server.answers.push((request, response) => server.send(request, response, 100_000, true));
      if (isWaiting) server.answers.unshift(statusOf(503, { 'retry-after': '4' }));
      const onSetback = () => stop.abort(new Error('stopped'));
      const onBytes = (bytes: number) => bytes === 100_000 && stop.abort(new Error('stopped'));
      await expect(fetched({ client: { signal: stop.signal, onSetback }, onBytes })).rejects.toMatchObject(
        isWaiting ? { name: 'AbortError' } : { message: 'stopped' },
      );
    }
    server.answers.length = 0;
    await fetched();
    expect(server.askedBy('GET').at(-1)).toBe('/text.txt bytes=100000-');
  });

  it.each([401, 403, 404, 410])('is not asked for twice when the answer is %i', async (status) => {
    server.answers.push(statusOf(status));
    await expect(fetched()).rejects.toMatchObject({
      code: 'WL_REMOTE_REFUSED',
      message: expect.stringContaining(String(status)),
    });
    expect(server.asked).toHaveLength(1);
  });

  it('may not be larger than allowed, whether the server says so or not', async () => {
    await expect(fetched({ maxBytes: 1000 })).rejects.toMatchObject({ code: 'WL_REMOTE_REFUSED' });
    server.answers.push((_, response) => void response.writeHead(200).end(text));
    await expect(fetched({ maxBytes: 1000 })).rejects.toMatchObject({
      code: 'WL_REMOTE_REFUSED',
      message: `${server.url('/text.txt').href} has more than 1000 bytes`,
    });
    expect(left().filter((name) => name === 'text.txt')).toEqual([]);
  });

  it('is not begun where the disk has no room for it', async () => {
    server.answers.push((_, response) => void response.writeHead(200, { 'content-length': 2 ** 52 }).write('x'));
    await expect(fetched({ maxBytes: 2 ** 53 - 1 })).rejects.toMatchObject({
      code: 'WL_DISK_FULL',
      message: expect.stringMatching(/has 4503599627370496 bytes; \d+ more are needed at /),
    });
  });

  it('is refused where an encoding has changed its bytes', async () => {
    server.answers.push(statusOf(200, { 'content-encoding': 'gzip' }));
    await expect(fetched()).rejects.toMatchObject({ message: expect.stringContaining('Content-Encoding gzip') });
  });

  it('is asked for in full view of nobody: messages have no query', async () => {
    server.answers.push(statusOf(403));
    const url = server.url('/text.txt?X-Amz-Signature=abc');
    await expect(fetched({ url })).rejects.toMatchObject({
      message: `${server.url('/text.txt').href}?… answered GET with 403 Forbidden`,
    });
    expect(server.asked[0]?.path).toBe('/text.txt?X-Amz-Signature=abc');
  });

  it.each(['http://169.254.169.254/latest/meta-data', 'http://[fe80::1]/x', 'http://[fd00:ec2::254]/x'])(
    'is never fetched from where clouds give credentials: %s',
    async (address) => {
      await expect(fetched({ url: new URL(address) })).rejects.toMatchObject({ code: 'WL_REMOTE_REFUSED' });
      server.answers.push(statusOf(302, { location: address }));
      await expect(fetched()).rejects.toMatchObject({ code: 'WL_REMOTE_REFUSED' });
    },
  );

  it('comes through the proxy of the environment', async () => {
    await using proxy = await TestServer.start();
    proxy.answers.push((_, response) => void response.end(text));
    const address = proxy.url('').origin;
    await fetched({ url: new URL('http://data.example/text.txt'), client: { proxies: { http_proxy: address } } });
    expect(proxy.asked[0]?.path).toBe('http://data.example/text.txt');
    await fetched({ path: `${path}2`, client: { proxies: { HTTP_PROXY: address, NO_PROXY: 'localhost' } } });
    expect(proxy.asked).toHaveLength(1);
  });
});

describe('redirects', () => {
  it('are followed five times and no more', async () => {
    const leads = statusOf(302, { location: '/text.txt' });
    server.answers.push(leads, leads, leads, leads, leads);
    await fetched();
    rmSync(path);
    server.answers.push(leads, leads, leads, leads, leads, leads);
    await expect(fetched()).rejects.toMatchObject({ message: expect.stringContaining('more than 5 redirects') });
  });
});

describe('a server with https and a Secret', () => {
  let authority: string;
  let secure: TestServer;
  let secretDir: string;

  beforeEach(async () => {
    const validity = { from: Date.now() - 60_000, until: Date.now() + 3_600_000 };
    const ca = await newAuthority('tests', validity);
    const { key, publicKey } = await newKey();
    const leaf = { commonName: 'localhost', publicKey, dnsNames: ['localhost'], uris: [], usages: ['server' as const] };
    authority = ca.certificate;
    secure = await TestServer.start({ key, cert: await issue({ ...leaf, ...validity }, ca) });
    secure.files.set('/text.txt', text);
    secretDir = join(root, 'secret');
    mkdirSync(secretDir);
    writeFileSync(join(secretDir, 'ca.crt'), authority);
  });
  afterEach(() => secure[Symbol.asyncDispose]());

  const authorizations = ({ asked }: TestServer) => asked.map(({ headers }) => headers.authorization);

  it('is trusted for its own authority only', async () => {
    await fetched({ url: secure.url('/text.txt'), client: { secretDir } });
    expect(authorizations(secure)).toEqual([undefined]);
    rmSync(path);
    await expect(fetched({ url: secure.url('/text.txt') })).rejects.toMatchObject({ code: 'WL_REMOTE_REFUSED' });
  });

  it('is reached through a tunnel of the proxy, which sees neither address nor token', async () => {
    writeFileSync(join(secretDir, 'bearerToken'), 'mine');
    const tunnels: string[] = [];
    const proxy = createServer();
    proxy.on('connect', (request, socket) => {
      tunnels.push(request.url ?? '', JSON.stringify(request.headers));
      const upstream = connect(Number(secure.url('').port), '127.0.0.1', () => {
        socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
        upstream.pipe(socket).pipe(upstream);
      });
      for (const end of [socket, upstream]) end.on('error', () => [socket, upstream].forEach((each) => each.destroy()));
    });
    await new Promise<void>((done) => proxy.listen(0, '127.0.0.1', done));
    const { port } = proxy.address() as AddressInfo;
    const https_proxy = `http://127.0.0.1:${port}`;
    await fetched({ url: secure.url('/text.txt'), client: { secretDir, proxies: { https_proxy } } });
    expect(readFileSync(path).equals(text)).toBe(true);
    expect(authorizations(secure)).toEqual(['Bearer mine']);
    expect(tunnels[0]).toBe(`localhost:${secure.url('').port}`);
    expect(tunnels.join()).not.toMatch(/text\.txt|mine/);
    proxy.closeAllConnections();
    await new Promise((done) => proxy.close(done));
  });

  it('is shown a token, or name and password, as the Secret has them at that moment', async () => {
    writeFileSync(join(secretDir, 'bearerToken'), 'first\n');
    secure.answers.push((request, response) => {
      writeFileSync(join(secretDir, 'bearerToken'), 'second');
      secure.send(request, response, 1000);
    });
    await fetched({ url: secure.url('/text.txt'), client: { secretDir } });
    expect(authorizations(secure)).toEqual(['Bearer first', 'Bearer second']);
    rmSync(join(secretDir, 'bearerToken'));
    writeFileSync(join(secretDir, 'username'), 'ann');
    writeFileSync(join(secretDir, 'password'), 'pass:word');
    rmSync(path);
    await fetched({ url: secure.url('/text.txt'), client: { secretDir } });
    expect(authorizations(secure).at(-1)).toBe(`Basic ${Buffer.from('ann:pass:word').toString('base64')}`);
  });

  it('is not asked while the Secret is missing or of other keys', async () => {
    for (const folder of [join(root, 'nowhere'), join(root, 'empty')]) {
      mkdirSync(join(root, 'empty'), { recursive: true });
      await expect(fetched({ url: secure.url('/text.txt'), client: { secretDir: folder } })).rejects.toMatchObject({
        code: 'WL_SECRET_INVALID',
      });
    }
    expect(secure.asked).toEqual([]);
  });

  it('gives its credentials to no other origin, and never leads to http', async () => {
    writeFileSync(join(secretDir, 'bearerToken'), 'mine');
    secure.answers.push(statusOf(302, { location: server.url('/text.txt').href }));
    await expect(fetched({ url: secure.url('/text.txt'), client: { secretDir } })).rejects.toMatchObject({
      code: 'WL_REMOTE_REFUSED',
      message: expect.stringContaining('a redirect from https must lead to https'),
    });
    expect(server.asked).toEqual([]);

    server.answers.push(statusOf(307, { location: secure.url('/text.txt').href }));
    await fetched({ client: { secretDir } });
    expect([...authorizations(server), ...authorizations(secure)]).toEqual(['Bearer mine', 'Bearer mine', undefined]);
  });
});

describe('a process that is killed while it fetches', () => {
  it('leaves a part that the next one goes on with, and nothing under the name of the file', async () => {
    server.answers.push((request, response) => server.send(request, response, 200_000, true));
    const address = server.url('/text.txt').href;
    const child = spawn(process.execPath, ['--input-type=module', '-e', fetchOnce, address, path, sha256(text)], {
      cwd: resolve(import.meta.dirname, '../..'),
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(child.stdout, 'data');
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(left().toSorted()).toEqual(['text.txt.part', expect.stringMatching(/^text\.txt\.part-/)]);
    expect(statSync(partOf(path)).size).toBe(200_000);
    await fetched();
    expect(readFileSync(path).equals(text)).toBe(true);
    expect(server.askedBy('GET')).toEqual(['/text.txt', '/text.txt bytes=200000-']);
    expect(left()).toEqual(['text.txt']);
  });

  it('or only thought to be dead, takes nothing half that another one has begun anew for its own', async () => {
    const { promise: slow, resolve: goOn } = Promise.withResolvers<void>();
    server.answers.push((request, response) => {
      server.send(request, response, 100_000, true);
      void slow.then(() => response.end(text.subarray(100_000)));
    });
    const begun = Promise.withResolvers<void>();
    const first = fetched({ onBytes: (bytes) => bytes === 100_000 && begun.resolve() });
    await begun.promise;
    // The server has another validator for the same bytes: the second one begins anew, and is cut.
    const halfway = Promise.withResolvers<void>();
    const over = Promise.withResolvers<void>();
    server.answers.push((_, response) => {
      response.writeHead(200, { etag: '"other"', 'content-length': text.length });
      response.write(text.subarray(0, 50_000));
      void over.promise.then(() => response.end(text.subarray(50_000)));
    });
    const second = fetched({ onBytes: (bytes) => bytes === 50_000 && halfway.resolve() });
    await halfway.promise;
    goOn();
    over.resolve();
    for (const done of await Promise.all([first, second])) expect(done.sha256).toBe(sha256(text));
    expect(readFileSync(path).equals(text)).toBe(true);
    expect(left()).toEqual(['text.txt']);
  });

  it('after the last byte leaves a part that no byte is missing of', async () => {
    server.answers.push((request, response) => server.send(request, response, 200_000));
    server.answers.push(statusOf(404));
    await expect(fetched()).rejects.toMatchObject({ code: 'WL_REMOTE_REFUSED' });
    writeFileSync(partOf(path), text);
    await fetched();
    expect(readFileSync(path).equals(text)).toBe(true);
    expect(server.askedBy('GET').at(-1)).toBe(`/text.txt bytes=${text.length}-`);
  });
});

/** The file with the bytes that are there of another one. */
const partOf = (of: string): string =>
  join(
    dirname(of),
    readdirSync(dirname(of)).find((name) => name.includes('.part-'))!,
  );

/** Fetches a file whose server stops in the middle, and says when that is. */
const fetchOnce = `
  import { RemoteClient } from '#runtime/remote/client.ts';
  import { download } from '#runtime/remote/download.ts';
  const [url, path, sha256] = process.argv.slice(1);
  const onBytes = (bytes) => bytes === 200_000 && console.log('there');
  await download(new RemoteClient({ proxies: {} }), new URL(url), { path, sha256, onBytes });`;
