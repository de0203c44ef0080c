import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { TrainingJob } from '#crds/v1alpha1/index.ts';
import { trainingJob } from '#operator/controllers/fixtures.ts';
import { isConflict, isNotFound } from '#operator/kube/errors.ts';
import { MemoryKube } from '#operator/kube/memory-kube.ts';
import { serveControl } from './control.ts';
import { answerCall, controlApi } from './control-api.ts';
import { makeStateDir, stateDirOf } from './state-dir.ts';

it('gives other commands the API of an instance, with its refusals, and says when none runs', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'wl-control-'));
  const state = stateDirOf(folder);
  makeStateDir(state);
  const kube = new MemoryKube();
  const server = await serveControl(state.controlSocket, {
    objects: async () => [],
    api: (call) => answerCall(kube, call),
    stop: () => {},
  });
  const api = controlApi(state);
  const key = { namespace: 'default', name: 'moby' };
  try {
    await expect(api.get(TrainingJob, key)).rejects.toSatisfy(isNotFound);
    const made = await kube.create(TrainingJob, trainingJob('moby'));
    expect((await api.list(TrainingJob)).items).toEqual([made]);
    expect((await api.patch(TrainingJob, key, { spec: { suspend: true } }, { uid: made.metadata.uid })).spec.suspend).toBe(true);
    const old = { resourceVersion: made.metadata.resourceVersion };
    await expect(api.patch(TrainingJob, key, { spec: { suspend: false } }, old)).rejects.toSatisfy(isConflict);
    expect((await api.get(TrainingJob, key)).spec.suspend).toBe(true);
  } finally {
    await new Promise((resolve) => {
      server.close(resolve);
      server.closeAllConnections();
    });
  }
  await expect(api.list(TrainingJob)).rejects.toThrow('no windlass runs on');
  rmSync(folder, { recursive: true });
});
