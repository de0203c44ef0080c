// A copy of a folder on a server: whole when its list is there, whatever happened on the way, and fetched from there as it was.
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RemoteClient } from './client.ts';
import type { RemoteOptions } from './client.ts';
import { downloadFiles, remoteFiles } from './folder.ts';
import { hasty, TestServer } from './testing.ts';
import { uploadFolder } from './upload.ts';

const weights = Buffer.alloc(3_000_000, 7);

let root: string;
let folder: string;
let server: TestServer;

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'wl-upload-'));
  folder = join(root, 'model');
  mkdirSync(join(folder, 'tokens'), { recursive: true });
  writeFileSync(join(folder, 'model.safetensors'), weights);
  writeFileSync(join(folder, 'tokens/a b.json'), '{}');
  server = await TestServer.start();
});
afterEach(async () => {
  await server[Symbol.asyncDispose]();
  rmSync(root, { recursive: true });
});

async function upload(options: RemoteOptions = {}, query = '') {
  using client = new RemoteClient({ patience: hasty, proxies: {}, ...options });
  const told: number[] = [];
  await uploadFolder(client, server.url(`/models/moby${query}`), folder, (bytes) => told.push(bytes));
  return told;
}

const answered =
  (status: number, headers: Record<string, string> = {}) =>
  (_: unknown, response: ServerResponse) =>
    void response.writeHead(status, headers).end();

describe('a folder put on a server', () => {
  it('has the checksum of each file, its list last, and is fetched from there as it was', async () => {
    const told = await upload();
    expect(server.askedBy('PUT')).toEqual([
      '/models/moby/model.safetensors',
      '/models/moby/tokens/a%20b.json',
      '/models/moby/SHA256SUMS',
    ]);
    const sha256 = createHash('sha256').update(weights).digest();
    expect(server.asked[0]?.headers).toMatchObject({
      'content-length': String(weights.length),
      'content-digest': `sha-256=:${sha256.toString('base64')}:`,
      'x-checksum-sha256': sha256.toString('hex'),
    });
    expect(told.at(-1)).toBe(weights.length + 2);

    using client = new RemoteClient({ patience: hasty, proxies: {} });
    const list = server.files.get('/models/moby/SHA256SUMS')!;
    const digest = createHash('sha256').update(list).digest('hex');
    const fetched = join(root, 'fetched');
    const files = await remoteFiles(client, server.url('/models/moby'), digest, fetched);
    await downloadFiles(client, server.url('/models/moby'), files, fetched, () => {});
    expect(readFileSync(join(fetched, 'model.safetensors')).equals(weights)).toBe(true);
    expect(readFileSync(join(fetched, 'tokens/a b.json'), 'utf8')).toBe('{}');
  });

  it('is put again where the connection breaks or the server is busy, and by the same call once more', async () => {
    server.answers.push((request) => request.once('data', () => request.destroy()));
    server.answers.push(answered(503, { 'retry-after': '0' }), answered(500));
    await upload();
    expect(server.askedBy('PUT')).toHaveLength(6);
    expect(server.files.get('/models/moby/model.safetensors')?.equals(weights)).toBe(true);
    await upload();
    expect(server.askedBy('PUT')).toHaveLength(9);
  });

  it('has no list when a file was refused', async () => {
    server.answers.push((request, response) => server.take(request, response), answered(403));
    await expect(upload()).rejects.toMatchObject({
      code: 'WL_REMOTE_REFUSED',
      message: `${server.url('/models/moby/tokens/a%20b.json').href} answered PUT with 403 Forbidden`,
    });
    expect([...server.files.keys()]).toEqual(['/models/moby/model.safetensors']);
    server.answers.push(...Array.from({ length: 1000 }, () => answered(502)));
    await expect(upload({ patience: { ...hasty, fruitlessMs: 30 } })).rejects.toMatchObject({ code: 'WL_REMOTE_UNAVAILABLE' });
  });

  it('goes where the server sends it, and nowhere by a redirect that turns it into a question', async () => {
    await using other = await TestServer.start();
    const location = other.url('/elsewhere').href;
    server.answers.push(answered(307, { location }));
    await upload();
    expect(other.files.get('/elsewhere')?.equals(weights)).toBe(true);
    server.answers.push(answered(302, { location }));
    await expect(upload()).rejects.toMatchObject({ message: expect.stringContaining('only 307 and 308 keep what is sent') });
  });

  it('gets its folders made where the server has real ones', async () => {
    server.answers.push(answered(409));
    await upload();
    expect(server.askedBy('MKCOL')).toEqual(['/models/', '/models/moby/']);
    expect(server.askedBy('PUT')).toHaveLength(4);
    server.answers.push(answered(409), answered(409));
    await expect(upload()).rejects.toMatchObject({ message: expect.stringContaining('409') });
  });

  it('keeps the query of its address, which is told to nobody', async () => {
    server.answers.push((request, response) => server.take(request, response), answered(403));
    await expect(upload({}, '?sig=abc')).rejects.toMatchObject({
      message: `${server.url('/models/moby/tokens/a%20b.json').href}?… answered PUT with 403 Forbidden`,
    });
    expect(server.askedBy('PUT')[0]).toBe('/models/moby/model.safetensors?sig=abc');
  });
});
