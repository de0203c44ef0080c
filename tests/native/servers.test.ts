// A rank whose data comes from a server that falls silent: it ends when it is asked to, and the next one goes on from what has come.
import { createHash } from 'node:crypto';
import { readFile, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { ExitCode } from '#runtime/api/exit-codes.ts';
import { rawTar } from '#runtime/remote/tar-testing.ts';
import { TestServer } from '#runtime/remote/testing.ts';
import { newFolder, runRank, startRank, tinyJob } from './rank.ts';

it('a rank that is stopped while it fetches its data ends as preempted, and the next one fetches the rest and trains', async () => {
  await using server = await TestServer.start();
  const folder = await newFolder();
  const text = await readFile(join(folder, 'data.txt'));
  server.files.set('/data.txt', text);
  server.answers.push((request, response) => server.send(request, response, 10_000, true));
  const digest = `sha256:${createHash('sha256').update(text).digest('hex')}`;
  const spec = tinyJob(folder, { steps: 5, data: { uri: server.url('/data.txt').href, digest } });
  const first = startRank(folder, spec);
  const place = join(folder, '.remote', digest.slice('sha256:'.length));
  const bytesThere = async () => {
    const names = await readdir(place).catch(() => []);
    const sizes = names.filter((name) => name.includes('.part-')).map(async (name) => (await stat(join(place, name))).size);
    return (await Promise.all(sizes))[0];
  };
  await expect.poll(bytesThere, { timeout: 100_000 }).toBe(10_000);
  first.child.kill('SIGTERM');
  expect((await first.ended).code).toBe(ExitCode.preempted);
  const second = await runRank(folder, spec);
  expect(second.code, second.log).toBe(0);
  expect(server.askedBy('GET')).toEqual(['/data.txt', '/data.txt bytes=10000-']);
  await rm(folder, { recursive: true });
});

it('a rank learns from an archive with a tokenizer of another model, publishes that tokenizer, and lets go of both', async () => {
  await using server = await TestServer.start();
  const folder = await newFolder();
  const text = await readFile(join(folder, 'data.txt'));
  const first = await runRank(folder, tinyJob(folder, { steps: 1 }));
  expect(first.code, first.log).toBe(0);
  const tokenizer = await readFile(join(folder, 'models', first.published!.path, 'tokenizer.json'));
  const archive = rawTar({ name: 'moby/1.txt', content: text.subarray(0, 15_000) }, { name: 'moby/2.txt', content: text });
  const put = (name: string, content: Buffer) => {
    server.files.set(`/${name}`, content);
    return { uri: server.url(`/${name}`).href, digest: `sha256:${createHash('sha256').update(content).digest('hex')}` };
  };
  const data = { ...put('moby.tar', archive), tokenizer: put('words.json', tokenizer) };
  const env = { WL_JOB_DIR: join(folder, 'other'), WL_UID: '1f1e2d3c-0000' };
  const second = await runRank(folder, tinyJob(folder, { steps: 5, data }), env);
  expect(second.code, second.log).toBe(0);
  expect(await readFile(join(folder, 'models', second.published!.path, 'tokenizer.json'))).toEqual(tokenizer);
  const marks = await readdir(join(folder, '.remote/uses'));
  expect(marks.toSorted()).toEqual([data, data.tokenizer].map(({ digest }) => `${digest.slice(7)}.done`).toSorted());
  await rm(folder, { recursive: true });
});
