// Data and models of a job from servers: on the claim once, for all jobs that give the same digest.
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { TrainingJob } from '#crds/v1alpha1/training-job.ts';
import type { TrainingJobSpec } from '#crds/v1alpha1/training-job.ts';
import type { Progress } from '#runtime/api/messages.ts';
import { TestServer } from '#runtime/remote/testing.ts';
import { fetchInputs, withLocalInputs } from './inputs.ts';

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
    const digest = listed('/corpus/', { 'a.txt': 'one', 'deep/b.jsonl': '{"text": "two"}', 'weights.bin': 'no text' });
    const of = spec({ uri: server.url('/corpus/').href, digest });
    const { spec: local } = await fetched(of);
    const folder = local.data.uri;
    expect(readdirSync(folder, { recursive: true }).map(String).toSorted()).toEqual(['a.txt', 'deep', 'deep/b.jsonl']);
    writeFileSync(join(folder, 'a.txt'), 'One');
    await fetched(of, 'other');
    expect(readFileSync(join(folder, 'a.txt'), 'utf8')).toBe('one');
    expect(server.askedBy('GET')).toEqual(['/corpus/SHA256SUMS', '/corpus/a.txt', '/corpus/deep/b.jsonl', '/corpus/a.txt']);
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

it('a model on a server is fetched whole and takes the place of its address', async () => {
  const digest = listed('/models/moby/', { 'config.json': '{}', 'model.safetensors': 'weights', 'tokenizer.json': '{}' });
  const { spec: local } = await fetched(spec({}, { from: server.url('/models/moby/').href, digest }));
  expect(local.model).toEqual({ from: join(root, 'jobs/default/.remote', digest.slice('sha256:'.length)) });
  expect(readdirSync(local.model.from!).toSorted()).toEqual(['config.json', 'model.safetensors', 'tokenizer.json']);
});
