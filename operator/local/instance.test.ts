import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { InferenceService, ModelVersion, TrainingJob } from '#crds/v1alpha1/index.ts';
import { isConditionTrue } from '#crds/conditions.ts';
import { Pod } from '#operator/kube/core.ts';
import { readManifests } from '#operator/kube/manifest.ts';
import { fetchObjects } from './control.ts';
import { startInstance } from './instance.ts';
import type { Instance } from './instance.ts';
import { makeStateDir, stateDirOf } from './state-dir.ts';
import type { StateDir } from './state-dir.ts';

/** Stands for the runtime: an agent that publishes at once, and an engine that says that it is ready. */
const runtime = `
const { writeFileSync } = require('node:fs');
process.on('SIGTERM', () => process.exit());
if (process.argv[2] === 'agent') {
  const published = { path: 'm/1', digest: 'a'.repeat(64), format: 'huggingface', architecture: 'llama', parameters: 1, contextLength: 8,
    vocabularySize: 300, step: 1, bytes: 1, metrics: {} };
  writeFileSync(process.env.WL_TERMINATION_LOG, JSON.stringify({ published, progress: { step: 1, steps: 1 } }));
} else {
  require('node:http').createServer((_, response) => response.end()).listen(Number(process.env.WL_PORT), process.env.WL_POD_IP);
}`;

const manifest = `
apiVersion: windlass.dev/v1alpha1
kind: TrainingJob
metadata: { name: m, namespace: default }
spec:
  model: { family: llama, config: { hiddenSize: 8, layers: 1, heads: 1 } }
  data: { uri: /data, tokenizer: { train: { vocabularySize: 300 } } }
  task: { pretrain: { steps: 1, batch: { sequences: 1, length: 8 }, optimizer: { learningRate: 1e-3 } } }
  output: { model: m }
---
apiVersion: windlass.dev/v1alpha1
kind: InferenceService
metadata: { name: m, namespace: default }
spec: { model: { name: m } }
`;

let folder: string;
let state: StateDir;
let instance: Instance;
const errors: string[] = [];

async function start(): Promise<Instance> {
  return await startInstance({
    state,
    workingDir: folder,
    windlassCommand: [process.execPath, join(folder, 'runtime.cjs')],
    log: pino({ level: 'silent' }),
    onError: (error, object) => errors.push(`${object}: ${error.message}`),
    onStopRequest: () => {},
  });
}

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'wl-instance-'));
  writeFileSync(join(folder, 'runtime.cjs'), runtime);
  state = stateDirOf(join(folder, 'state'));
  makeStateDir(state);
  instance = await start();
});
afterEach(async () => {
  await instance.stop();
  rmSync(folder, { recursive: true });
  expect(errors.splice(0)).toEqual([]);
});

const key = { namespace: 'default', name: 'm' };
/** The version of the whole API: every write of any object raises it. */
const version = async () => (await instance.client.list(Pod)).resourceVersion;

async function until(condition: () => Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 60_000; !(await condition());) {
    if (Date.now() > deadline) throw new Error(`waited in vain; errors: ${errors.join('; ')}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const isServing = async () => isConditionTrue(await instance.client.get(InferenceService, key), 'Ready');

it('trains and serves, is quiet once all is done, and serves again in its next life without training again', async () => {
  for (const { resource, object } of readManifests(manifest, 'm.yaml').objects) await instance.client.create(resource, object);
  await until(isServing);
  await until(async () => isConditionTrue(await instance.client.get(TrainingJob, key), 'Complete'));
  // The last writes may still be on their way.
  await until(async () => {
    const settled = await version();
    await new Promise((resolve) => setTimeout(resolve, 2000));
    return (await version()) === settled;
  });

  const job = await instance.client.get(TrainingJob, key);
  await instance.stop();
  expect(await fetchObjects(state)).toBeUndefined();
  instance = await start();
  await until(isServing);
  expect((await instance.client.list(ModelVersion)).items).toHaveLength(1);
  expect((await instance.client.get(TrainingJob, key)).status).toEqual(job.status);
  expect((await fetchObjects(state))?.map(({ kind }) => kind)).toEqual(expect.arrayContaining(['TrainingJob', 'Pod', 'Service']));
});

it('names the damaged file of objects and its predecessor, and leaves both alone', async () => {
  await instance.client.create(TrainingJob, readManifests(manifest, 'm.yaml').objects[0]!.object as TrainingJob);
  await instance.stop();
  const path = join(state.path, 'objects/objects.json');
  writeFileSync(path, 'windlass-objects-1 sha256:00\n{}');
  await expect(start()).rejects.toMatchObject({ code: 'WL_STATE_CORRUPT', message: expect.stringContaining(path) });
  rmSync(join(state.path, 'objects'), { recursive: true });
  instance = await start();
});
