// Data and models of a job from servers: on the claim once, for all jobs that give the same digest.
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { TrainingJob } from '#crds/v1alpha1/training-job.ts';
import type { TrainingJobSpec } from '#crds/v1alpha1/training-job.ts';
import type { Progress } from '#runtime/api/messages.ts';
import { resolveData } from '#runtime/data/main.ts';
import { rawTar } from '#runtime/remote/tar-testing.ts';
import { TestServer } from '#runtime/remote/testing.ts';
import { fetchInputs } from './inputs.ts';
import { withLocalInputs } from './named-inputs.ts';

const hex = (bytes: string | Buffer) => createHash('sha256').update(bytes).digest('hex');
const text = Buffer.from('call me ishmael. '.repeat(20_000));

let root: string;
let server: TestServer;

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'wl-inputs-'));
  server = await TestServer.start();
  server.files.set('/texts/moby.txt', text);
});
afterEach(async () => {
  await server[Symbol.asyncDispose]();
  rmSync(root, { recursive: true });
});

function spec(data: object, model?: object): TrainingJobSpec {
  const { example } = TrainingJob.definition as unknown as { example: { spec: { data: object } } };
  const whole = { ...example.spec, data: { ...example.spec.data, ...data }, ...(model ? { model } : {}) };
  return TrainingJob.definition.spec.parse(whole);
}

async function fetched(of: TrainingJobSpec, job = 'moby') {
  const env = { WL_JOB_DIR: join(root, 'jobs/default', job) };
  const told: Partial<Progress>[] = [];
  const lines: string[] = [];
  await fetchInputs(of, { env, tell: (progress) => told.push(progress), log: (_, line) => lines.push(line) });
  return { spec: withLocalInputs(of, env), told, lines };
}

/** Puts files and their list into a folder of the server; gives its digest. */
function listed(folder: string, files: Record<string, string>): string {
  const lines = Object.entries(files).map(([name, content]) => {
    server.files.set(`${folder}${name}`, Buffer.from(content));
    return `${hex(content)}  ${name}\n`;
  });
  const sums = lines.toSorted().join('');
  server.files.set(`${folder}SHA256SUMS`, Buffer.from(sums));
  return `sha256:${hex(sums)}`;
}

describe('data on a server', () => {
  it('is fetched once for jobs that give the same digest, also when they start together, and tells how far it is', async () => {
    const of = spec({ uri: server.url('/texts/moby.txt').href, digest: `sha256:${hex(text)}` });
    const all = await Promise.all([fetched(of), fetched(of, 'other'), fetched(of, 'third')]);
    const paths = new Set(all.map((one) => one.spec.data.uri));
    expect([...paths]).toEqual([join(root, 'jobs/default/.remote', hex(text), 'data.txt')]);
    expect(readFileSync([...paths][0]!).equals(text)).toBe(true);
    expect(server.askedBy('GET')).toEqual(['/texts/moby.txt']);
    const told = all.flatMap((one) => one.told);
    expect(told).toContainEqual(expect.objectContaining({ phase: 'downloading data', phaseShare: 1 }));
    expect(told).toContainEqual({ phase: 'waiting for another job that is downloading data' });
    expect(all[0].told.at(-1)).toEqual({ phase: 'preparing', phaseShare: undefined, transfer: undefined });
  });

  it('without a digest is of its job and address, and stays what it was', async () => {
    const of = spec({ uri: server.url('/texts/moby.txt').href.replace('http:', 'https:') });
    const plain = { ...of, data: { ...of.data, uri: server.url('/texts/moby.txt').href } };
    const first = await fetched(plain);
    server.files.set('/texts/moby.txt', Buffer.from('another text'));
    const again = await fetched(plain);
    expect(again.spec.data.uri).toBe(first.spec.data.uri);
    expect(readFileSync(again.spec.data.uri).equals(text)).toBe(true);
    expect(again.lines).toEqual(['fetched, and held against no digest']);
    server.files.set('/texts/other.txt', Buffer.from('a text of another name'));
    const other = await fetched({ ...plain, data: { ...plain.data, uri: server.url('/texts/other.txt').href } });
    expect(readFileSync(other.spec.data.uri, 'utf8')).toBe('a text of another name');
  });

  it('may be a folder with a list, of which only texts are fetched; what has been damaged is fetched again', async () => {
    const digest = listed('/corpus.txt/', { 'a.txt': 'one', 'deep/b.jsonl': '{"text": "two"}', 'weights.bin': 'no text' });
    const of = spec({ uri: server.url('/corpus.txt/').href, digest });
    const { spec: local } = await fetched(of);
    const folder = local.data.uri;
    expect(readdirSync(folder, { recursive: true }).map(String).toSorted()).toEqual(['a.txt', 'deep', 'deep/b.jsonl']);
    writeFileSync(join(folder, 'a.txt'), 'One');
    await fetched(of, 'other');
    expect(readFileSync(join(folder, 'a.txt'), 'utf8')).toBe('one');
    expect(server.askedBy('GET')).toEqual(['SHA256SUMS', 'a.txt', 'deep/b.jsonl', 'a.txt'].map((name) => `/corpus.txt/${name}`));
    const asked = server.asked.length;
    expect((await fetched(of, 'after the server is gone')).spec.data.uri).toBe(folder);
    expect(server.asked.length).toBe(asked);
  });

  it('is refused by name when the list is of other files, leads out of its folder, or has no text', async () => {
    const digest = listed('/corpus/', { 'a.txt': 'one' });
    listed('/corpus/', { 'a.txt': 'changed' });
    const uri = server.url('/corpus/').href;
    await expect(fetched(spec({ uri, digest }))).rejects.toMatchObject({
      code: 'WL_DIGEST_MISMATCH',
      message: expect.stringMatching(/^data\.uri: http:.*\/corpus\/SHA256SUMS has digest sha256:/),
    });
    for (const name of ['../a.txt', '/a.txt', 'a/../../b.txt', 'a\\b.txt', 'a//b.txt', './../x.txt']) {
      const sums = `${hex('x')}  ${name}\n`;
      server.files.set('/corpus/SHA256SUMS', Buffer.from(sums));
      await expect(fetched(spec({ uri, digest: `sha256:${hex(sums)}` }))).rejects.toMatchObject({ code: 'WL_REMOTE_REFUSED' });
    }
    const image = listed('/corpus/', { 'a.png': 'image' });
    await expect(fetched(spec({ uri, digest: image }))).rejects.toMatchObject({ code: 'WL_DATA_INVALID' });
    expect(existsSync(join(root, 'jobs/a.txt'))).toBe(false);
  });
});

describe('an archive on a server', () => {
  const archive = rawTar(
    { name: 'corpus/a.txt', content: 'call me ishmael '.repeat(20_000) },
    { name: 'corpus/LICENSE', content: 'free' },
    { name: 'corpus/b.jsonl', content: '{"text": "two"}' },
  );

  it.each(['.tar', '.tar.gz', '.tgz'])('(%s) comes as its texts, once for all jobs, going on where it was cut', async (kind) => {
    const packed = kind === '.tar' ? archive : gzipSync(archive, { level: 1 });
    server.files.set(`/corpus${kind}`, packed);
    server.answers.push((request, response) => server.send(request, response, 700));
    const of = spec({ uri: server.url(`/corpus${kind}`).href, digest: `sha256:${hex(packed)}` });
    const all = await Promise.all([fetched(of), fetched(of, 'other')]);
    expect(server.askedBy('GET')).toEqual([`/corpus${kind}`, `/corpus${kind} bytes=700-`]);
    const place = join(root, 'jobs/default/.remote', hex(packed));
    for (const { spec: local } of all) expect(local.data.uri).toBe(join(place, 'unpacked/files'));
    const { files } = await resolveData(join(place, 'unpacked/files'), { baseDir: '/' });
    expect(files.map(({ name, bytes }) => [name, bytes])).toEqual([
      ['corpus/a.txt', 320_000],
      ['corpus/b.jsonl', 15],
    ]);
    expect(readdirSync(place)).toEqual(['unpacked']);
    expect(all.flatMap((one) => one.told)).toContainEqual({ phase: 'unpacking data', phaseShare: 1, transfer: undefined });
    const asked = server.asked.length;
    await fetched(of, 'after the server is gone');
    expect(server.asked.length).toBe(asked);
    writeFileSync(join(place, 'unpacked/files/corpus/a.txt'), 'damaged');
    await fetched(of, 'after that');
    expect(readFileSync(join(place, 'unpacked/files/corpus/a.txt')).length).toBe(320_000);
  });

  it('with another digest, or that is none, is refused by the field, and a bad one leaves no texts', async () => {
    const evil = rawTar({ name: '../../../evil.txt', content: 'out' });
    server.files.set('/corpus.tar', evil);
    const uri = server.url('/corpus.tar').href;
    await expect(fetched(spec({ uri, digest: `sha256:${hex(archive)}` }))).rejects.toMatchObject({ code: 'WL_DIGEST_MISMATCH' });
    await expect(fetched(spec({ uri, digest: `sha256:${hex(evil)}` }))).rejects.toMatchObject({
      code: 'WL_DATA_INVALID',
      message: expect.stringMatching(/^data\.uri: http:.*\/corpus\.tar: "..\/..\/..\/evil\.txt" is no path within the archive$/),
    });
    expect(readdirSync(root, { recursive: true }).filter((name) => String(name).endsWith('.txt'))).toEqual([]);
  });

  it('without a digest is of its job, and stays what it was', async () => {
    server.files.set('/corpus.tar', archive);
    const plain = spec({ uri: 'https://x.example/corpus.tar' });
    const of = { ...plain, data: { ...plain.data, uri: server.url('/corpus.tar').href } };
    const { spec: local } = await fetched(of);
    expect(local.data.uri).toMatch(/\/moby\/cache\/remote\/[0-9a-f]{16}\/unpacked\/files$/);
    server.files.delete('/corpus.tar');
    expect((await fetched(of)).spec.data.uri).toBe(local.data.uri);
  });
});

describe('a tokenizer on a server', () => {
  it.each(['.json', '.gguf'])(
    'that is one file (%s) is fetched by its digest and takes the place of its address',
    async (kind) => {
      server.files.set(`/words/bpe${kind}`, Buffer.from('merges'));
      const digest = `sha256:${hex('merges')}`;
      const tokenizer = { uri: server.url(`/words/bpe${kind}`).href, digest };
      const { spec: local, told } = await fetched(spec({ uri: '/texts', tokenizer }));
      expect(local.data.tokenizer).toEqual({ uri: join(root, 'jobs/default/.remote', hex('merges'), `tokenizer${kind}`) });
      expect(readFileSync(local.data.tokenizer!.uri!, 'utf8')).toBe('merges');
      expect(told).toContainEqual(expect.objectContaining({ phase: 'downloading tokenizer', phaseShare: 1 }));
      server.files.set('/words/bpe.json', Buffer.from('other merges'));
      const wrong = { ...tokenizer, uri: server.url('/words/bpe.json').href, digest: `sha256:${hex('no merges')}` };
      await expect(fetched(spec({ uri: '/texts', tokenizer: wrong }))).rejects.toMatchObject({
        code: 'WL_DIGEST_MISMATCH',
        message: expect.stringMatching(/^data\.tokenizer\.uri: http:.*\/bpe\.json has digest sha256:/),
      });
    },
  );

  it('may be in the folder of a model, of which it alone is fetched, and the rest when the model is wanted', async () => {
    const files = { 'config.json': '{}', 'model.safetensors': 'weights', 'tokenizer.json': '{}', 'tokenizer_config.json': '{}' };
    const digest = listed('/models/moby/', files);
    const place = { uri: server.url('/models/moby/').href, digest };
    const { spec: local } = await fetched(spec({ uri: '/texts', tokenizer: place }));
    const folder = join(root, 'jobs/default/.remote', digest.slice('sha256:'.length));
    expect(local.data.tokenizer).toEqual({ uri: folder });
    expect(readdirSync(folder).toSorted()).toEqual(['tokenizer.json', 'tokenizer_config.json']);
    await fetched(spec({ uri: '/texts' }, { from: place.uri, digest }));
    expect(readdirSync(folder).toSorted()).toEqual(Object.keys(files));
    const without = listed('/models/bare/', { 'config.json': '{}' });
    const tokenizer = { uri: server.url('/models/bare/').href, digest: without };
    await expect(fetched(spec({ uri: '/texts', tokenizer }))).rejects.toMatchObject({
      code: 'WL_TOKENIZER_INVALID',
      message: expect.stringMatching(/^data\.tokenizer\.uri: the list of .*\/models\/bare\/ has no tokenizer\.json$/),
    });
  });
});

it('a model on a server is fetched whole and takes the place of its address', async () => {
  const digest = listed('/models/moby/', { 'config.json': '{}', 'model.safetensors': 'weights', 'tokenizer.json': '{}' });
  const { spec: local } = await fetched(spec({}, { from: server.url('/models/moby/').href, digest }));
  expect(local.model).toEqual({ from: join(root, 'jobs/default/.remote', digest.slice('sha256:'.length)) });
  expect(readdirSync(local.model.from!).toSorted()).toEqual(['config.json', 'model.safetensors', 'tokenizer.json']);
});
