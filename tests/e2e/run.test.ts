// One file, one command: what `windlass run` does from text to an answer, and what it says when it can't.
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import {
  cleanUp,
  holdPort,
  job,
  object,
  objects,
  podProcesses,
  project,
  service,
  start,
  windlass,
  writeManifests,
} from './harness.ts';

afterEach(cleanUp);

it('trains, publishes, serves, answers and ends with 0', async () => {
  const folder = project(job(), service());
  const { code, output } = await windlass(folder, 'run', '-f', 'manifest.yaml', '--ask', 'the whale', '--exit');
  expect(output).toMatch(
    /trainingjob\/tiny: Succeeded, published tiny-1\n[^]*inferenceservice\/tiny: Ready at http:\/\/127\.\d+\.\d+\.\d+:8080\/v1\n/,
  );
  expect(output).toMatch(
    /\ntiny: the whale\S* .*\n\nEverything is kept in .*\.windlass\. Next:\n {2}windlass run -f manifest.yaml {2}/,
  );
  expect(output).not.toMatch(/no pod has been made|\n\n\n|WL_/);
  expect(code).toBe(0);
  const kinds = (await objects(folder)).map(({ kind, metadata }) => `${kind} ${metadata.name}`);
  expect(kinds).toEqual(['TrainingJob tiny', 'InferenceService tiny', 'Model tiny', 'ModelVersion tiny-1']);
  const { status } = (await object(folder, 'TrainingJob', 'tiny'))!;
  expect(status).toMatchObject({ state: 'Succeeded', modelVersion: 'tiny-1', restarts: 0, progress: { step: 20 } });
  const state = join(folder, '.windlass');
  expect(readdirSync(join(state, 'volumes/default/windlass-jobs/default/tiny')).sort()).toEqual([
    'cache',
    'checkpoints',
    'metrics.jsonl',
    'tensorboard',
  ]);
  expect(readdirSync(join(state, 'run'))).toEqual([]);
  expect(podProcesses(state)).toEqual([]);
});

it('trains and serves two models at once', async () => {
  const folder = project(job(), job({ name: 'other', hiddenSize: 16 }), service(), service('other'));
  const { code, output } = await windlass(folder, 'run', '-f', 'manifest.yaml', '--exit');
  for (const name of ['tiny', 'other']) {
    expect(output).toContain(`trainingjob/${name}: Succeeded, published ${name}-1\n`);
    expect(output).toMatch(new RegExp(`inferenceservice/${name}: Ready at http://127`));
  }
  const addresses = [...output.matchAll(/Ready at (\S+)/g)].map(([, url]) => url);
  expect(new Set(addresses).size).toBe(2);
  expect(code).toBe(0);
});

it('tells the cause, code, remedy and log of a job that fails, and ends with 1; mended, it runs again', async () => {
  const folder = project(job({ data: './short' }), service());
  mkdirSync(join(folder, 'short'));
  writeFileSync(join(folder, 'short/a.txt'), 'a b c d');
  const { code, output } = await windlass(folder, 'run', '-f', 'manifest.yaml', '--ask', 'x', '--exit');
  expect(output).toMatch(
    /trainingjob\/tiny: Failed\ntrainingjob\/tiny: tiny-worker-0, rank 0, exit code 64, WL_DATA_EMPTY: data\.uri .*short: .*\. Add text, or .*\n/,
  );
  expect(output).toContain('inferenceservice/tiny: Model tiny does not exist yet; it is served as soon as');
  expect(output).toMatch(/Next:\n {2}windlass logs tiny .*\n {2}windlass run -f manifest\.yaml /);
  expect(code).toBe(1);
  const { output: log } = await windlass(folder, 'logs', 'tiny');
  expect(log).toContain('WL_DATA_EMPTY');

  writeManifests(folder, job(), service());
  const again = await windlass(folder, 'run', '-f', 'manifest.yaml', '--exit');
  expect(again.output).toContain('trainingjob/tiny: Succeeded, published tiny-1');
  expect(again.code).toBe(0);
});

it('keeps what there is when a field that may not change is changed', async () => {
  const folder = project(job());
  expect((await windlass(folder, 'run', '-f', 'manifest.yaml')).code).toBe(0);
  const before = await object(folder, 'TrainingJob', 'tiny');
  writeManifests(folder, job({ hiddenSize: 16 }));
  const { code, output } = await windlass(folder, 'run', '-f', 'manifest.yaml');
  expect(output).toMatch(
    /^error WL_FIELD_IMMUTABLE: manifest\.yaml:1: TrainingJob tiny exists and is not changed: .*spec\.model/,
  );
  expect(output).toContain('\n  Delete the object first, or give the new one another name.\n');
  expect(code).toBe(64);
  expect(await object(folder, 'TrainingJob', 'tiny')).toEqual(before);
});

it('names the port that another program holds, goes on with the rest, and serves once the port is free', async () => {
  const { port, release } = await holdPort();
  try {
    const folder = project(job(), service('tiny', port));
    const running = start(folder, 'run', '-f', 'manifest.yaml', '--exit');
    await running.until(
      /service\/tiny: WL_PORT_TAKEN: cannot listen on 127\.\d+\.\d+\.\d+:\d+: .*\. Stop what listens there, or set spec\.port\.\n/,
    );
    await running.until('trainingjob/tiny: Succeeded, published tiny-1');
    await running.until(
      /inferenceservice\/tiny: tiny-\w+-0, exit code 75, WL_PORT_TAKEN: .* Stop what listens there, or set spec\.port\.\n/,
    );
    await release();
    await running.until(`:${port}/v1\n`);
    expect(await running.ended).toBe(0);
  } finally {
    await release();
  }
});

it('refuses a file that is not there, before anything is made', async () => {
  const folder = project();
  const { code, output } = await windlass(folder, 'run', '-f', 'nothing.yaml');
  expect(output).toMatch(
    /^error WL_FILE_MISSING: nothing\.yaml: .*\n {2}Check the path; relative paths count from the manifest\.\n$/,
  );
  expect(code).toBe(64);
  expect(existsSync(join(folder, '.windlass'))).toBe(false);
});
