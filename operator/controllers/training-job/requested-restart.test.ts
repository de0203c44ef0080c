import { describe, expect, it } from 'vitest';
import { annotation } from '#crds/names.ts';
import type { TrainingJob, TrainingJobStatus } from '#crds/v1alpha1/index.ts';
import { ExitCode } from '#runtime/api/exit-codes.ts';
import { conditions, effective, job, plan, pod, said } from './testing.ts';

const request = '2026-01-01T11:59:00.000Z';

function asked(status: Partial<TrainingJobStatus> = {}, spec: object = {}, at = request): TrainingJob {
  const made = job(spec, { effective, state: 'Running', startTime: '2026-01-01T11:00:00Z', restarts: 1, ...status });
  return { ...made, metadata: { ...made.metadata, annotations: { [annotation.restartRequestedAt]: at } } };
}

describe('a restart that was asked for', () => {
  it('makes the pods of the attempt stale, once, and counts against no budget', () => {
    const first = plan({ job: asked(), pods: [pod()] });
    expect(said(first)).toEqual({ actions: [], state: 'Restarting', attempt: 1, restarts: 1 });
    expect(conditions(first)).toMatchObject({ Ready: 'False RestartRequested', Reconciling: 'True RestartRequested' });
    expect(first.events.map(({ type, reason }) => `${type} ${reason}`)).toEqual(['Normal RestartRequested']);
    const again = plan({ job: asked(first.status), pods: [pod()] });
    expect(said(again).actions).toEqual(['delete moby-worker-0 attempt 0']);
    const ended = plan({ job: asked(again.status), pods: [] });
    expect(said(ended)).toMatchObject({ actions: ['create moby-worker-0 attempt 1'], attempt: 1, restarts: 1 });
  });

  it('is another one when it is asked for at another time', () => {
    const done = { attempt: 1, restartRequest: request };
    expect(said(plan({ job: asked(done), pods: [pod({ attempt: 1 })] }))).toMatchObject({
      actions: [],
      state: 'Running',
      attempt: 1,
    });
    const later = asked(done, {}, '2026-01-01T12:00:00.000Z');
    expect(said(plan({ job: later, pods: [pod({ attempt: 1 })] }))).toMatchObject({ state: 'Restarting', attempt: 2 });
  });

  it('ends the wait for a restart after a fault', () => {
    const waits = asked({ attempt: 2, nextRestartTime: '2026-01-01T12:05:00Z' });
    const { status } = plan({ job: waits, pods: [] });
    expect(status).toMatchObject({ attempt: 2, restartRequest: request });
    expect(status.nextRestartTime).toBeUndefined();
    expect(said(plan({ job: { ...waits, status }, pods: [] })).actions).toEqual(['create moby-worker-0 attempt 2']);
  });

  it('starts from what the runtime says now, on the claim where the checkpoint is; from what it said before if it is gone', () => {
    const old = { ...effective, jobsClaim: 'checkpoints' };
    const builtin = { image: 'windlass:next' };
    const { status } = plan({ job: asked({ effective: old }), pods: [pod()], builtin });
    expect(status.effective).toEqual({ ...old, image: 'windlass:next' });
    const { status: again } = plan({ job: asked({ ...status, restartRequest: undefined }), pods: [], builtin });
    expect(again.effective).toEqual(status.effective);
    const named = asked({ effective: old }, { runtimeRef: { kind: 'TrainingRuntime', name: 'gone' } });
    expect(plan({ job: named, pods: [pod()], builtin }).status.effective).toEqual(old);
  });

  it('comes after the judgement of a pod that failed, and does not bring back a job that has failed', () => {
    const failing = pod({ phase: 'Failed', exitCode: ExitCode.userError, endedAgo: 10 });
    expect(said(plan({ job: asked(), pods: [failing] }))).toMatchObject({ state: 'Failed', attempt: 0 });
  });

  it('waits while the job is suspended', () => {
    const { status } = plan({ job: asked({}, { suspend: true }), pods: [] });
    expect(status).toMatchObject({ state: 'Suspended' });
    expect(status.restartRequest).toBeUndefined();
  });

  it('is none without the annotation', () => {
    expect(said(plan({ job: job(), pods: [pod()] }))).toMatchObject({ state: 'Running', attempt: 0 });
  });
});
