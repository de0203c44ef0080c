// A job that is stopped in the middle goes on in another layout, as docs/parallelism.md says.
import { afterEach, expect, it } from 'vitest';
import { cleanUp, object, project, start, windlass, writeManifests } from './harness.ts';
import { expectTheSame, parallelJob, stepOf, training } from './parallel-job.ts';

afterEach(cleanUp);

it('a job that Ctrl-C stops in the middle goes on in another layout of more and of fewer ranks, and the weights are those of one rank', async () => {
  // Many more than are done until it is stopped, however late this process is.
  const steps = 600;
  const layouts = [
    '{ pipeline: 2, schedule: zb1p }',
    '{ dataReplicate: 2, tensor: 2, sequenceParallel: true }',
    '{ dataShard: 2 }',
  ];
  const folder = project(parallelJob('one', { steps }));
  expect((await windlass(folder, 'run', '-f', 'manifest.yaml', '--exit')).code).toBe(0);
  const run = (parallelism: string, suspend: boolean) => {
    writeManifests(folder, parallelJob('many', { steps, parallelism, spec: [`suspend: ${suspend}`] }));
    return start(folder, 'run', '-f', 'manifest.yaml', '--exit');
  };
  for (const [index, parallelism] of layouts.entries()) {
    if (index > 0) {
      // The layout of a job may change only while the job is suspended.
      const suspended = run(parallelism, true);
      expect(await suspended.ended, suspended.output()).toBe(0);
      expect(suspended.output()).toContain('trainingjob/many: Suspended');
    }
    const running = run(parallelism, false);
    if (index === layouts.length - 1) {
      expect(await running.ended, running.output()).toBe(0);
      continue;
    }
    await training(folder, running, index === 0 ? 2 : 4, stepOf(folder) + 20);
    running.signal('SIGINT');
    expect(await running.ended, running.output()).toBe(130);
    expect(stepOf(folder)).toBeLessThan(steps);
  }
  await expectTheSame(folder);
  expect((await object(folder, 'TrainingJob', 'many'))?.status).toMatchObject({ restarts: 0 });
});
