import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { TrainingJob } from '#crds/v1alpha1/index.ts';
import { trainingJob } from '#operator/controllers/fixtures.ts';
import { openPersistedKube } from '#operator/kube/snapshot.ts';
import { stateDirOf } from '#operator/local/state-dir.ts';
import { WindlassError } from '#runtime/api/errors.ts';
import type { InstanceTarget } from '../target/target.ts';
import { steer } from './steer.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wl-steer-'));
});
afterEach(() => rm(folder, { recursive: true }));

const ended = new WindlassError('WL_NOT_RUNNING', 'no windlass runs here');

/** An instance that takes the change and ends, with this state of the job as the last that it wrote. */
async function endingInstance(suspended: 'True' | 'False'): Promise<InstanceTarget> {
  const persisted = await openPersistedKube(join(folder, 'objects'));
  const job = await persisted.kube.create(TrainingJob, trainingJob('many'));
  const time = '2026-01-01T00:00:00Z';
  const conditions = [{ type: 'Suspended', status: suspended, reason: 'Test', message: '', lastTransitionTime: time }];
  await persisted.kube.patchStatus(TrainingJob, { name: 'many', namespace: 'default' }, { conditions, observedGeneration: 9 });
  await persisted.close();
  return {
    kind: 'instance',
    state: stateDirOf(folder),
    namespace: undefined,
    api: {
      get: async () => Promise.reject(ended),
      list: async ({ kind }) => ({ items: kind === TrainingJob.kind ? [job] : [], metadata: { resourceVersion: '1' } }) as never,
      patch: async () => job as never,
    },
  };
}

async function pause(target: InstanceTarget): Promise<string> {
  let written = '';
  const write = (text: string) => void (written += text);
  await steer(target, 'pause', { words: ['tj/many'], waitSeconds: 10, write, signal: new AbortController().signal });
  return written;
}

it('has paused a job if the instance ended for that', async () => {
  expect(await pause(await endingInstance('True'))).toMatch(/trainingjob\/many pauses: .*\n[^]*trainingjob\/many: done\n$/);
});

it('says that nothing runs if the instance ended before it', async () => {
  await expect(pause(await endingInstance('False'))).rejects.toThrow(ended);
});
