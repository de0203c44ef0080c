// The embedded default replaces its serving processes under load: no request fails and none is cut, whole or streamed.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pino } from 'pino';
import { expect, it, vi } from 'vitest';
import { InferenceService } from '#crds/v1alpha1/index.ts';
import { inferenceService } from '#operator/controllers/fixtures.ts';
import { Pod } from '#operator/kube/core.ts';
import { startInstance } from '#operator/local/instance.ts';
import { makeStateDir, stateDirOf } from '#operator/local/state-dir.ts';
import { startLoad } from './load.ts';
import { tinyModels } from './tiny-models.ts';

const [prompt, maxTokens] = ['Call me', 8];
const key = { namespace: 'default', name: 'tiny' };
const waiting = { timeout: 120_000, interval: 50 };

it('answers every request while models and settings change, and replicas come and go', async () => {
  await using stack = new AsyncDisposableStack();
  const folder = mkdtempSync(join(tmpdir(), 'wl-rollouts-'));
  stack.defer(() => rmSync(folder, { recursive: true, force: true }));
  const models = await tinyModels(folder, [5, 6], prompt, maxTokens);
  const texts = models.map(({ text }) => text);
  expect(texts[0]).not.toBe(texts[1]);
  const state = stateDirOf(join(folder, 'state'));
  makeStateDir(state);
  const errors: string[] = [];
  const instance = await startInstance({
    state,
    workingDir: folder,
    windlassCommand: [process.execPath, resolve(import.meta.dirname, '../../bin/windlass.ts')],
    log: pino({ level: 'silent' }),
    onError: (error, object) => errors.push(`${object}: ${error.message}`),
    onStopRequest: () => {},
  });
  stack.defer(() => instance.stop());
  const { client } = instance;

  /** Waits until just as many pods answer as shall, all made from the spec as it is; gives the address. */
  const settled = async (replicas: number): Promise<string> =>
    await vi.waitFor(async () => {
      const { metadata, status } = await client.get(InferenceService, key);
      const [observedGeneration, active] = [metadata.generation, status?.model?.target];
      expect(status).toMatchObject({
        observedGeneration,
        replicas,
        readyReplicas: replicas,
        model: { state: 'Serving', active },
      });
      return status!.url!;
    }, waiting);
  await client.create(InferenceService, inferenceService('tiny', {}, { uri: models[0]!.path }));
  const url = await settled(1);
  const load = startLoad({ url, model: 'tiny', prompt, maxTokens, texts, clients: 4 });
  const change = async (spec: object, replicas: number) => {
    await client.patch(InferenceService, key, { spec });
    await settled(replicas);
  };
  try {
    await change({ model: { uri: models[1]!.path } }, 1);
    await change({ replicas: 2 }, 2);
    await change({ engine: { maxSequences: 5 } }, 2);
    await change({ replicas: 1 }, 1);
    await change({ model: { uri: models[0]!.path } }, 1);
    const reached = load.answered + 40;
    await vi.waitFor(() => expect(load.answered + load.failures.length).toBeGreaterThan(reached), waiting);
  } finally {
    await load.stop();
  }
  expect(load.failures).toEqual([]);
  expect([...load.counts.keys()].toSorted()).toEqual(texts.toSorted());
  expect(load.streamed).toBeGreaterThan(0);
  // Those that were told to go did so by themselves, well before their time was over.
  await vi.waitFor(async () => expect((await client.list(Pod)).items).toHaveLength(1), waiting);
  expect(errors).toEqual([]);
});
