import { expect, it } from 'vitest';
import type { TrainingJob } from '#crds/v1alpha1/index.ts';
import { trainingJob } from '#operator/controllers/fixtures.ts';
import { jobView } from './object-view.ts';

/** A job that is paused, while pods of it end or when none is left. */
function pausedJob(reconciling: 'True' | 'False'): TrainingJob {
  const lastTransitionTime = '2026-01-01T00:00:00Z';
  const condition = { type: 'Reconciling', status: reconciling, reason: 'Suspended', message: '', lastTransitionTime } as const;
  return { ...trainingJob('moby', { suspend: true }), status: { state: 'Suspended', conditions: [condition] } };
}

it('a paused job is stopping as long as pods of it save and end', () => {
  expect(jobView(pausedJob('True'))).toMatchObject({ state: 'Suspended', stopping: true });
  expect(jobView(pausedJob('False'))).toMatchObject({ state: 'Suspended' });
  expect(jobView(pausedJob('False'))).not.toHaveProperty('stopping');
});
