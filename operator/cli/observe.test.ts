import { expect, it } from 'vitest';
import { TrainingJob } from '#crds/v1alpha1/index.ts';
import { trainingJob } from '#operator/controllers/fixtures.ts';
import { MemoryKube } from '#operator/kube/memory-kube.ts';
import { createInProcessBus } from '#runtime/api/bus.ts';
import type { ProgressReport } from '#runtime/api/messages.ts';
import { progressSubject } from '#runtime/api/subjects.ts';
import { observe } from './observe.ts';

/** A job of four ranks that runs, as somebody looks at it after these reports. */
async function look(reports: Partial<ProgressReport>[]) {
  const client = new MemoryKube();
  const bus = createInProcessBus();
  const batch = { sequences: 8, length: 128, grains: 4 };
  const spec = { parallelism: { dataReplicate: 4 }, task: { pretrain: { steps: 9, batch } } };
  const { metadata } = await client.create(TrainingJob, trainingJob('m', spec));
  await client.patchStatus(
    TrainingJob,
    { namespace: 'default', name: 'm' },
    { state: 'Running', attempt: 1, summary: { ranks: '4/4' }, progress: { step: 0, steps: 9, phase: 'preparing' } },
  );
  const observer = observe(client, bus);
  const common = { uid: metadata.uid, attempt: 1, rank: 0, pod: 'm-worker-0', time: '2026-01-01T00:00:00.000Z', restarts: 0 };
  for (const report of reports)
    bus.publish(progressSubject('default', 'm'), { ...common, progress: { step: 0, steps: 0 }, ...report });
  const { jobs } = await observer.look();
  observer.close();
  return jobs[0]!;
}

const at = (step: number, loss: number) => ({ progress: { step, steps: 9, loss } });

it('draws each step once, though steps are done again after a fault', async () => {
  expect((await look([at(1, 9), at(2, 8), at(2, 8), at(3, 7), at(2, 8), at(3, 7), at(4, 6)])).losses).toEqual([9, 8, 7, 6]);
});

it('keeps the step while those who tell it start anew', async () => {
  expect(await look([at(4, 6), { progress: { step: 0, steps: 0 } }])).toMatchObject({ step: 4, steps: 9, loss: 6 });
});

it('takes a phase for over when a report has none, whatever the status still says', async () => {
  expect([(await look([])).phase, (await look([at(1, 9)])).phase]).toEqual(['preparing', undefined]);
});

it('shows the ranks of the running attempt, what they wait in, and how many there are', async () => {
  const collective = { group: 'data', sequence: 7, operation: 'allReduce', site: 'block 3', state: 'waiting' as const };
  const ranks: ProgressReport['ranks'] = [
    { rank: 0, pod: 'm-worker-0', state: 'running', step: 4, collective },
    { rank: 1, pod: 'm-worker-2', state: 'running', step: 4, collective: { ...collective, state: 'done' } },
  ];
  const seen = await look([{ ranks, worldSize: 2 }]);
  expect(seen.rankCount).toBe('2/4');
  expect(seen.ranks?.map(({ pod, waitsIn }) => [pod, waitsIn])).toEqual([
    ['worker-0', 'allReduce, block 3'],
    ['worker-2', undefined],
  ]);
  expect((await look([{ attempt: 0, ranks, worldSize: 2 }])).ranks).toBeUndefined();
});

it('shows a job that may go on as waiting, though its status still says that it is suspended', async () => {
  const client = new MemoryKube();
  const observer = observe(client, createInProcessBus());
  for (const suspend of [true, false]) {
    const name = `m-${suspend}`;
    await client.create(TrainingJob, trainingJob(name, { suspend }));
    await client.patchStatus(TrainingJob, { namespace: 'default', name }, { state: 'Suspended' });
  }
  const { jobs } = await observer.look();
  observer.close();
  expect(new Map(jobs.map(({ name, state }) => [name, state]))).toEqual(
    new Map([
      ['m-true', 'Suspended'],
      ['m-false', 'Pending'],
    ]),
  );
});
