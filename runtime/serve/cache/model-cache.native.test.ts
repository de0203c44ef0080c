// Models on a node: fetched once, whole or not there, and within their room, whoever is killed when.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { folderDigest } from '#runtime/model/main.ts';
import { cachedModel, packedRoom } from './model-cache.ts';
import type { Fetching, ModelCacheOptions } from './model-cache.ts';
import { startupTeller } from './progress.ts';
import { TestServer } from '#runtime/remote/testing.ts';
import { folderSource, remoteSource } from './source.ts';
import type { ReadSource } from './source.ts';

const times = { renewMs: 50, staleMs: 60_000, lookMs: 10 };
/** More than one piece of a file. */
const weightBytes = 3_000_000;

let root: string;
let source: string;
let digest: string;
let options: ModelCacheOptions;

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'wl-cache-'));
  source = join(root, 'source');
  digest = await writeModel(source, 1);
  options = { folder: join(root, 'cache'), times };
});
afterEach(() => rmSync(root, { recursive: true }));

/** A folder of two files, one of them in a folder of its own; gives its digest. */
async function writeModel(folder: string, seed: number): Promise<string> {
  mkdirSync(join(folder, 'tokens'), { recursive: true });
  writeFileSync(join(folder, 'model.safetensors'), Buffer.alloc(weightBytes, seed));
  writeFileSync(join(folder, 'tokens/tokenizer.json'), `{"seed": ${seed}}`);
  return await folderDigest(folder);
}

/** A source that notes which files are asked for. */
function counted(folder: string): { opened: string[]; source: ReadSource } {
  const opened: string[] = [];
  const inner = folderSource(folder);
  const open = (name: string) => {
    opened.push(name);
    return inner.open(name);
  };
  return { opened, source: { ...inner, open } };
}

const models = () => readdirSync(join(options.folder, 'models'));

describe('the models of a node', () => {
  it('are fetched once, however many ask at once, and are what was published', async () => {
    const { opened, source: counting } = counted(source);
    const folders = await Promise.all(Array.from({ length: 5 }, () => cachedModel(counting, digest, options)));
    expect(new Set(folders).size).toBe(1);
    expect(opened.toSorted()).toEqual(['model.safetensors', 'tokens/tokenizer.json']);
    expect(await folderDigest(folders[0]!)).toBe(digest);
    rmSync(source, { recursive: true });
    expect(await cachedModel(folderSource(source), digest, options)).toBe(folders[0]);
  });

  it('are fetched again when a bit of them has flipped', async () => {
    const path = join(await cachedModel(folderSource(source), digest, options), 'model.safetensors');
    const bytes = readFileSync(path);
    bytes[weightBytes / 2]! ^= 4;
    writeFileSync(path, bytes);
    const damaged: string[] = [];
    const folder = await cachedModel(folderSource(source), digest, { ...options, onDamaged: (found) => damaged.push(found) });
    expect(damaged).toEqual([folder]);
    expect(await folderDigest(folder)).toBe(digest);
    expect(models()).toEqual([digest]);
  });

  it('are not there when the source has other bytes than the version says', async () => {
    writeFileSync(join(source, 'tokens/tokenizer.json'), '{"seed": 7}');
    await expect(cachedModel(folderSource(source), digest, options)).rejects.toMatchObject({ code: 'WL_MODEL_CORRUPT' });
    expect(models()).toEqual([]);
  });

  it('tell bytes, speed and the time that is left', async () => {
    const told: Fetching[] = [];
    await cachedModel(folderSource(source), digest, { ...options, onProgress: (fetching) => told.push(fetching) });
    const total = weightBytes + readFileSync(join(source, 'tokens/tokenizer.json')).length;
    expect(told.length).toBeGreaterThan(3);
    expect(told.every(({ phase, totalBytes }) => phase === 'fetching' && totalBytes === total)).toBe(true);
    expect(told.map(({ bytes }) => bytes)).toEqual(told.map(({ bytes }) => bytes).toSorted((a, b) => a - b));
    expect(told.at(-1)?.bytes).toBe(total);

    let now = 5000;
    const startups: object[] = [];
    const teller = startupTeller(
      (startup) => startups.push(startup),
      () => now,
    );
    teller({ phase: 'waiting', bytes: 0, totalBytes: 0 });
    teller({ phase: 'fetching', bytes: 10, totalBytes: 100 });
    now += 2000;
    teller({ phase: 'fetching', bytes: 25, totalBytes: 100 });
    expect(startups).toEqual([
      { phase: 'waiting' },
      { phase: 'fetching', bytes: 10, totalBytes: 100 },
      { phase: 'fetching', bytes: 25, totalBytes: 100, bytesPerSecond: 12.5, etaSeconds: 6 },
    ]);
  });

  it('are whole after the process that fetched them was killed in the middle', async () => {
    const child = spawn(process.execPath, ['--input-type=module', '-e', stallingFetch, source, digest, options.folder], {
      cwd: resolve(import.meta.dirname, '../../..'),
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(child.stdout, 'data');
    const waits: string[] = [];
    const { opened, source: counting } = counted(source);
    const onProgress = ({ phase }: Fetching) => waits.push(phase);
    const fetched = cachedModel(counting, digest, { ...options, times: { ...times, staleMs: 1000 }, onProgress });
    await expect.poll(() => waits).toContain('waiting');
    child.kill('SIGKILL');
    const folder = await fetched;
    expect(await folderDigest(folder)).toBe(digest);
    expect(opened).toHaveLength(2);
    expect(models()).toEqual([digest]);
  });

  it('make room for others, the one that was not used for longest first, and never while they may be loaded', async () => {
    const limited = { ...options, maxBytes: 2.5 * weightBytes };
    const others = await Promise.all([2, 3, 4].map((seed) => writeModel(join(root, `source-${seed}`), seed)));
    const fetch = (seed: number) => cachedModel(folderSource(join(root, `source-${seed}`)), others[seed - 2]!, limited);
    await cachedModel(folderSource(source), digest, limited);
    await fetch(2);
    expect(new Set(models())).toEqual(new Set([digest, others[0]]));
    await expect(fetch(3)).rejects.toMatchObject({
      code: 'WL_DISK_FULL',
      message: expect.stringContaining(`may hold ${limited.maxBytes} bytes`),
    });
    const longAgo = (days: number) => new Date(Date.now() - days * 86_400_000);
    utimesSync(join(options.folder, 'used', digest), longAgo(1), longAgo(1));
    utimesSync(join(options.folder, 'used', others[0]!), longAgo(2), longAgo(2));
    await fetch(3);
    expect(new Set(models())).toEqual(new Set([digest, others[1]]));
    await cachedModel(folderSource(source), digest, limited);
    await expect(fetch(4)).rejects.toMatchObject({ code: 'WL_DISK_FULL' });
    expect(new Set(models())).toEqual(new Set([digest, others[1]]));
  });

  it('make room by removing packed weights first, those used longest ago before others', async () => {
    const packed = join(options.folder, 'packed');
    mkdirSync(packed, { recursive: true });
    for (const [days, name] of ['new', 'old', 'older'].entries()) {
      writeFileSync(join(packed, name), Buffer.alloc(weightBytes / 4));
      utimesSync(join(packed, name), 1_000_000 - days, 1_000_000 - days);
    }
    await cachedModel(folderSource(source), digest, { ...options, maxBytes: 1.5 * weightBytes });
    expect([models(), readdirSync(packed)]).toEqual([[digest], ['new']]);
    expect((await packedRoom({ folder: options.folder, maxBytes: 3 * weightBytes })).maxBytes).toBeLessThan(2 * weightBytes);
  });
});

describe('models from servers', () => {
  /** The model of `source` with a list of its files, on a server. */
  async function serve(): Promise<TestServer> {
    const server = await TestServer.start();
    const names = ['model.safetensors', 'tokens/tokenizer.json'];
    const bytes = names.map((name) => readFileSync(join(source, name)));
    names.forEach((name, index) => server.files.set(`/moby/${name}`, bytes[index]!));
    const lines = names.map((name, index) => `${createHash('sha256').update(bytes[index]!).digest('hex')}  ${name}\n`);
    server.files.set('/moby/SHA256SUMS', Buffer.from(lines.toSorted().join('')));
    return server;
  }

  it('are fetched once for all pods of the node, and go on where an earlier pod was cut', async () => {
    await using server = await serve();
    const remote = () => remoteSource(server.url('/moby/').href, undefined);
    server.answers.push((request, response) => server.send(request, response));
    server.answers.push((request, response) => server.send(request, response, 1_000_000));
    server.answers.push((_, response) => void response.writeHead(403).end());
    await expect(cachedModel(remote(), digest, options)).rejects.toMatchObject({ code: 'WL_REMOTE_REFUSED' });
    expect(readdirSync(join(options.folder, 'staging')).toSorted()).toEqual([digest, `${digest}.SHA256SUMS`]);
    const told: Fetching[] = [];
    const onProgress = (fetching: Fetching) => told.push(fetching);
    const folders = await Promise.all([1, 2, 3].map(() => cachedModel(remote(), digest, { ...options, onProgress })));
    expect(await folderDigest(folders[0]!)).toBe(digest);
    expect(new Set(folders).size).toBe(1);
    expect(server.askedBy('GET')).toEqual([
      '/moby/SHA256SUMS',
      '/moby/model.safetensors',
      '/moby/model.safetensors bytes=1000000-',
      '/moby/model.safetensors bytes=1000000-',
      '/moby/tokens/tokenizer.json',
    ]);
    const fetching = told.filter(({ phase }) => phase === 'fetching');
    expect(fetching[0]).toMatchObject({ bytes: 1_000_000 });
    expect(fetching.at(-1)!.bytes).toBe(fetching.at(-1)!.totalBytes);
    expect([models(), readdirSync(join(options.folder, 'staging'))]).toEqual([[digest], []]);
  });

  it('are not there when the server has others than the digest says', async () => {
    await using server = await serve();
    const remote = remoteSource(server.url('/moby/').href, undefined);
    await expect(cachedModel(remote, '0'.repeat(64), options)).rejects.toMatchObject({ code: 'WL_DIGEST_MISMATCH' });
    server.files.set('/moby/tokens/tokenizer.json', Buffer.from('{"seed": 7}'));
    await expect(cachedModel(remote, digest, options)).rejects.toMatchObject({
      code: 'WL_DIGEST_MISMATCH',
      message: expect.stringContaining('/moby/tokens/tokenizer.json has digest sha256:'),
    });
  });

  it('find no room that others take, and make room of what nobody fetches any more', async () => {
    await using server = await serve();
    const remote = remoteSource(server.url('/moby/').href, undefined);
    await expect(cachedModel(remote, digest, { ...options, maxBytes: weightBytes / 2 })).rejects.toMatchObject({
      code: 'WL_DISK_FULL',
    });
    const left = join(options.folder, 'staging', '1'.repeat(64));
    mkdirSync(left, { recursive: true });
    writeFileSync(join(left, 'model.safetensors.part'), Buffer.alloc(1000));
    await cachedModel(remote, digest, { ...options, maxBytes: weightBytes + 500 });
    expect(readdirSync(join(options.folder, 'staging'))).toEqual([]);
  });
});

/** Fetches a model from a source that gives one piece of a file and then no more. */
const stallingFetch = `
  import { cachedModel } from '#runtime/serve/cache/model-cache.ts';
  import { folderSource } from '#runtime/serve/cache/source.ts';
  const [source, digest, folder] = process.argv.slice(1);
  const inner = folderSource(source);
  async function* open() {
    yield new Uint8Array(1000);
    await new Promise((done) => setTimeout(done, 1_000_000));
  }
  const onProgress = ({ phase }) => phase === 'fetching' && console.log('begun');
  await cachedModel({ ...inner, open }, digest, { folder, times: ${JSON.stringify(times)}, onProgress });`;
