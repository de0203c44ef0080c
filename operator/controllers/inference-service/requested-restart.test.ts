import { expect, it } from 'vitest';
import { annotation } from '#crds/names.ts';
import type { InferenceService, InferenceServiceStatus, TrainingRuntime } from '#crds/v1alpha1/index.ts';
import { effectiveOf } from '../effective.ts';
import { inferenceService } from '../fixtures.ts';
import { startedAnew } from './requested-restart.ts';

const before = effectiveOf(undefined, { image: 'windlass:1' });
const builtin = { image: 'windlass:2' };

/** What is left of a status after a restart was asked for. */
function after(
  request: string,
  status: Partial<InferenceServiceStatus> = { effective: before },
  { runtimeRef, runtime }: { runtimeRef?: object; runtime?: TrainingRuntime } = {},
): InferenceServiceStatus | undefined {
  const made = inferenceService('moby', runtimeRef ? { runtimeRef } : {});
  const metadata = { ...made.metadata, annotations: { [annotation.restartRequestedAt]: request } };
  const service: InferenceService = { ...made, metadata, status };
  return startedAnew({ service, runtime, builtin }).service.status;
}

it('takes the settings of now, once for each request', () => {
  const first = after('monday');
  expect(first).toEqual({ effective: { ...before, image: 'windlass:2' }, restartRequest: 'monday' });
  const since = { ...first, effective: before };
  expect(after('monday', since)).toBe(since);
  expect(after('tuesday', since)).toEqual({ ...first, restartRequest: 'tuesday' });
});

it('takes what the named runtime says now, and changes nothing where it has gone', () => {
  const runtimeRef = { kind: 'TrainingRuntime', name: 'gpu' };
  const runtime = {
    kind: 'TrainingRuntime',
    metadata: { name: 'gpu', generation: 4 },
    spec: { image: 'windlass:gpu', env: [], storage: { jobsClaim: 'jobs', modelsClaim: 'models' } },
  } as unknown as TrainingRuntime;
  expect(after('monday', undefined, { runtimeRef, runtime })?.effective).toMatchObject({
    image: 'windlass:gpu',
    modelsClaim: 'models',
  });
  expect(after('monday', undefined, { runtimeRef })?.effective).toEqual(before);
});

it('leaves the first settings to the first sight', () => {
  expect(after('monday', {})).toEqual({ effective: undefined, restartRequest: 'monday' });
});

it('is none without a request', () => {
  const status = { effective: before };
  expect(after('', status)).toBe(status);
});
