import { describe, expect, it } from 'vitest';
import type { TrainingJobStatus } from '#crds/v1alpha1/index.ts';
import { isoTime } from '#operator/kube/clock.ts';
import { effective, job, now, plan, pod } from './testing.ts';

describe('a job that is suspended', () => {
  const before: Partial<TrainingJobStatus> = {
    effective,
    state: 'Running',
    progress: { step: 10, steps: 400, loss: 5.5, time: isoTime(now - 8000) },
    checkpoint: { step: 5, time: isoTime(now - 60_000) },
  };
  const suspended = job({ suspend: true }, before);
  const saved = { step: 14, steps: 400, loss: 5.2, checkpointStep: 14 };
  const leaving = (words: object) => pod({ phase: 'Failed', exitCode: 143, deleting: true, words });
  const report = { uid: 'job-1', attempt: 0, time: isoTime(now - 1000), progress: saved } as never;

  it('shows the checkpoint that its pods saved in the end, by their last words', () => {
    const { status } = plan({ job: suspended, pods: [leaving({ rank: 0, progress: saved })] });
    expect(status.state).toBe('Suspended');
    expect(status.checkpoint).toEqual({ step: 14, time: isoTime(now) });
    expect(status.progress).toMatchObject({ step: 14, loss: 5.2 });
    expect(status.summary?.step).toBe('14/400');
  });

  it('shows it by their last report, if that comes when the pods are gone', () => {
    const { status } = plan({ job: suspended, pods: [], report });
    expect(status.checkpoint).toEqual({ step: 14, time: isoTime(now) });
  });

  it('is not written again while nothing newer is told, nor by pods that saved less', () => {
    const known = { ...before, checkpoint: { step: 14, time: isoTime(now - 2000) } };
    for (const checkpointStep of [9, 14, undefined]) {
      const words = { progress: { ...saved, checkpointStep } };
      const { status } = plan({ job: job({ suspend: true }, known), pods: [leaving(words)] });
      expect([status.checkpoint, status.progress]).toEqual([known.checkpoint, known.progress]);
    }
  });

  it('does not believe a report of another attempt', () => {
    const { status } = plan({ job: job({ suspend: true }, { ...before, attempt: 1 }), pods: [], report });
    expect(status.checkpoint).toEqual(before.checkpoint);
  });
});
