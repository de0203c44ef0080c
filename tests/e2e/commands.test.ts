// The commands beside `run`: on an instance that runs, and on the folder that it leaves.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { cleanUp, isAlive, job, objects, processTree, project, service, start, windlass } from './harness.ts';
import type { Windlass } from './harness.ts';

let folder: string;
let running: Windlass;

beforeAll(async () => {
  folder = project(job(), service());
  running = start(folder, 'run', '-f', 'manifest.yaml');
  await running.until('Serving until Ctrl-C');
});
afterAll(cleanUp);

it('stays up with a service, and says how to reach it', () => {
  const said = running.output().slice(running.output().indexOf('Serving'));
  expect(said.replaceAll(/127\.\d+\.\d+\.\d+/g, 'ADDRESS')).toMatchInlineSnapshot(`
    "Serving until Ctrl-C. Try:
      curl http://ADDRESS:8080/v1/completions -H 'content-type: application/json' -d '{"prompt": "Once", "max_tokens": 16}'
      windlass chat tiny
    "
  `);
});

it('the example that it prints gets an answer', async () => {
  const [, url, body] = /curl (\S+) .* -d '(.*)'/.exec(running.output()) ?? [];
  const response = await fetch(url ?? '', { method: 'POST', headers: { 'content-type': 'application/json' }, body: body ?? '' });
  expect(response.status).toBe(200);
  // Drawn at random: the text may end by itself.
  const answer = (await response.json()) as { object: string; choices: { finish_reason: string }[] };
  expect(answer).toMatchObject({
    object: 'text_completion',
    choices: [{ finish_reason: expect.stringMatching(/^(length|stop)$/) }],
  });
});

it('shows the objects as a table, JSON and YAML', async () => {
  const { output } = await windlass(folder, 'status');
  const steady = output
    .replaceAll(/ +(\d+[dhms])+\n/g, '\n')
    .replaceAll(/127\.\d+\.\d+\.\d+/g, 'ADDRESS')
    .replaceAll(/ \d\.\d{3} /g, ' LOSS ')
    .replaceAll(/ {2,}/g, '  ');
  expect(`\n${steady}`).toMatchInlineSnapshot(`
    "
    TRAININGJOB  STATE  RANKS  STEP  LOSS  TOK/S  ETA  RESTARTS  AGE
    tiny  Succeeded  0/1  20/20  LOSS  0

    INFERENCESERVICE  READY  REPLICAS  MODEL  URL  AGE
    tiny  True  1/1  tiny-1  http://ADDRESS:8080

    MODEL  LATEST  VERSIONS  AGE
    tiny  tiny-1  1

    MODELVERSION  MODEL  PARAMETERS  STEP  READY  AGE
    tiny-1  tiny  36384  20  True
    "
  `);
  const all = await objects(folder);
  expect(all.map(({ kind }) => kind)).toContain('Pod');
  const yaml = await windlass(folder, 'status', '-o', 'yaml');
  expect(yaml.output.split('---\n')).toHaveLength(all.length);
  expect(yaml.output).toContain('kind: ModelVersion');
});

it('prints the logs of a job, and of a pod by its name', async () => {
  const { output } = await windlass(folder, 'logs', 'tiny-worker-0');
  expect(output).toContain('"msg":"published"');
  const all = (await windlass(folder, 'logs', 'tiny')).output.split('\n');
  expect(all).toEqual(
    expect.arrayContaining(
      output
        .trimEnd()
        .split('\n')
        .map((line) => `tiny-worker-0: ${line}`),
    ),
  );
  const missing = await windlass(folder, 'logs', 'nobody');
  expect(missing.output).toContain('error WL_OBJECT_NOT_FOUND: no pod of nobody has a log');
  expect(missing.code).toBe(64);
});

it('chats with the service', async () => {
  const { code, output } = await windlass(folder, 'chat', '-m', 'the whale');
  expect(output).toMatch(/\S/);
  expect(code).toBe(0);
  const missing = await windlass(folder, 'chat', 'nobody', '-m', 'x');
  expect(missing.output).toContain('WL_OBJECT_NOT_FOUND: there is no InferenceService nobody; there are: tiny');
  expect(missing.code).toBe(64);
});

it('refuses a second instance on the folder, and leaves the first alone', async () => {
  const both = await Promise.all([1, 2].map(() => windlass(folder, 'run', '-f', 'manifest.yaml')));
  for (const { code, output } of both) {
    expect(output).toContain(`error WL_STATE_IN_USE: another windlass (process ${running.pid}) runs on the state folder`);
    expect(code).toBe(64);
  }
  expect(isAlive(running.pid)).toBe(true);
});

it('stop waits until everything has ended', async () => {
  const processes = processTree(running.pid);
  const { code } = await windlass(folder, 'stop');
  expect(processes.filter(isAlive)).toEqual([]);
  expect(code).toBe(0);
  expect(await running.ended).toBe(0);
  const again = await windlass(folder, 'stop');
  expect(again.output).toMatch(/^error WL_NOT_RUNNING: no windlass runs on .*\n {2}Start one with /);
  expect(again.code).toBe(64);
});

it('status shows what was left, and chat says that nothing runs', async () => {
  expect((await windlass(folder, 'status')).output).toMatch(/not running[^]*tiny +Succeeded/);
  expect((await windlass(folder, 'chat', '-m', 'x')).output).toContain('WL_NOT_RUNNING');
});

it('exports a model by its name as a folder and as a GGUF file, and never over what is there', async () => {
  expect(await windlass(folder, 'export', 'tiny', '--to', 'out')).toEqual({ code: 0, output: 'wrote out\n' });
  expect(readdirSync(join(folder, 'out'))).toEqual(
    expect.arrayContaining(['config.json', 'model.safetensors', 'tokenizer.json']),
  );
  expect(await windlass(folder, 'export', 'tiny-1', '--to', 'out.gguf')).toEqual({ code: 0, output: 'wrote out.gguf\n' });
  expect(readFileSync(join(folder, 'out.gguf')).toString('latin1', 0, 4)).toBe('GGUF');
  const twice = await windlass(folder, 'export', 'tiny', '--to', 'out');
  expect(twice.output).toContain('WL_FILE_EXISTS');
  const missing = await windlass(folder, 'export', 'nobody', '--to', 'x');
  expect(missing.output).toContain(
    'WL_OBJECT_NOT_FOUND: nobody is no model folder, GGUF file, Model or ModelVersion; there are: tiny-1',
  );
  expect(existsSync(join(folder, 'x'))).toBe(false);
});
