// The verbs that clusters have, on the instance that `windlass run` starts: a job is restarted and paused, and loses nothing by it.
import { execFileSync } from 'node:child_process';
import { globSync } from 'node:fs';
import { basename, join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { cleanUp, eventually, object, project, start, windlass } from './harness.ts';
import { parallelJob, stepOf } from './parallel-job.ts';

afterEach(cleanUp);

it('a job that is restarted and paused on request goes on from its checkpoint each time, and no restart counts', async () => {
  // Far more steps than it gets to.
  const folder = project(parallelJob('many', { steps: 10_000_000, parallelism: '{ dataReplicate: 2 }' }));
  const status = async () => (await object(folder, 'TrainingJob', 'many'))?.status;
  const running = start(folder, 'run', '-f', 'manifest.yaml');
  await eventually('the first checkpoint', () => stepOf(folder) > 20);
  const restarted = await windlass(folder, 'restart', 'many', '--wait');
  expect(restarted.code, restarted.output).toBe(0);
  expect(restarted.output).toMatch(/^trainingjob\/many restarts: [^]*: done\n$/);
  const first = stepOf(folder);
  await eventually('steps after the restart', () => stepOf(folder) > first + 20);

  expect((await windlass(folder, 'pause', 'tj/many', '--wait')).output).toMatch(/^trainingjob\/many pauses: [^]*: done\n$/);
  // Nothing is left to do but what is paused.
  expect(await running.ended, running.output()).toBe(0);
  const saved = stepOf(folder);
  expect(newestCheckpoint(folder)).toBe(`step-${String(saved).padStart(8, '0')}`);
  expect((await windlass(folder, 'status', 'job', 'many')).output).toMatch(/many {2}TrainingJob {2}Suspended/);
  expect((await windlass(folder, 'resume', 'many')).output).toContain('WL_NOT_RUNNING');

  const report = await windlass(folder, 'report', 'many', '--to', 'report.tar.gz');
  expect(report.output).toMatch(/^ {2}logs\/default\/many-worker-1\/agent\.log /m);
  const archive = execFileSync('tar', ['-xzOf', join(folder, 'report.tar.gz')], { encoding: 'utf8' });
  expect(archive).toContain('name: many\n');

  const again = start(folder, 'run', '-f', 'manifest.yaml');
  await eventually('steps after the pause', () => stepOf(folder) > saved + 20);
  expect(await windlass(folder, 'stop')).toMatchObject({ code: 0 });
  await again.ended;
  expect(await status()).toMatchObject({ restarts: 0, attempt: 1 });
});

function newestCheckpoint(folder: string): string {
  const found = globSync('.windlass/volumes/default/windlass-jobs/default/many/checkpoints/step-????????', { cwd: folder });
  return (
    found
      .map((path) => basename(path))
      .toSorted()
      .at(-1) ?? 'none'
  );
}
