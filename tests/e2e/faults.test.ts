// Pods and ranks that are stopped, killed or frozen for good, with real training: named, replaced, and not a bit of the result changes.
import { afterEach, expect, it } from 'vitest';
import { cleanUp, eventually, kill, object, podLog, podsOf, project, start } from './harness.ts';
import { expectTheSame, parallelJob, stepOf, training } from './parallel-job.ts';

afterEach(cleanUp);

/** A pod must be back for 5 s before the world grows. */
const elasticWaitMs = 5_000;

it('a rank that stands still, a pod that is killed and the pod of the rendezvous are named and replaced, and the weights are those of one undisturbed rank', async () => {
  const steps = 200;
  const folder = project(
    parallelJob('one', { steps }),
    parallelJob('many', { steps, parallelism: '{ dataShard: 2, tensor: 2 }', hangSeconds: 10 }),
  );
  const running = start(folder, 'run', '-f', 'manifest.yaml', '--exit');

  const [, stopped] = await training(folder, running, 4, 10);
  kill(stopped!.rank!, 'SIGSTOP');
  await running.until(
    /trainingjob\/many: rank 1 \(pod many-worker-1\) (has given no sign of life|has not entered) .*ranks start again/,
  );

  const [, , third] = await training(folder, running, 4, stepOf(folder));
  kill(third!.agent, 'SIGKILL');
  await running.until(/trainingjob\/many: rank 2 \(pod many-worker-2\) is out of reach .*ranks start again/);

  const [first] = await training(folder, running, 4, stepOf(folder));
  kill(first!.agent, 'SIGKILL');
  expect(await running.ended, running.output()).toBe(0);
  await expectTheSame(folder);
  const { status } = (await object(folder, 'TrainingJob', 'many'))!;
  expect(status).toMatchObject({ state: 'Succeeded', attempt: 0 });
  expect(status?.['restarts']).toBeGreaterThanOrEqual(3);
});

it('an elastic job goes on with two ranks while the pod of one of four is frozen, with four when it is back, and the weights are those of one rank', async () => {
  const elastic = { parallelism: '{ dataReplicate: 4 }', spec: ['elastic: { minRanks: 2 }'] };
  const folder = project(parallelJob('one', { steps: 200 }), parallelJob('many', { steps: 200, ...elastic }));
  const running = start(folder, 'run', '-f', 'manifest.yaml', '--exit');
  const lost = (await training(folder, running, 4, 10)).at(3)!;
  kill(lost.agent, 'SIGKILL');
  const next = await eventually('another pod in its place', () =>
    podsOf(folder, 'many').find(({ index, agent }) => index === 3 && agent !== lost.agent),
  );
  // Before it can join.
  kill(next.agent, 'SIGSTOP');
  const two = await training(folder, running, 2, stepOf(folder));
  expect(two.map(({ rank }) => rank !== undefined)).toEqual([true, true, false, false]);

  // However fast this machine is, the two do not end the job before the third and the fourth may join.
  kill(two[0]!.rank!, 'SIGSTOP');
  const thawedAt = Date.now();
  kill(next.agent, 'SIGCONT');
  await eventually('the pod to have been back for as long as it takes', () => {
    const joined = podLog(folder, 'many-worker-3').findLast(({ msg }) => msg === 'joined the rendezvous');
    return joined && Date.parse(joined.time) >= thawedAt && Date.now() - Date.parse(joined.time) > elasticWaitMs;
  });
  kill(two[0]!.rank!, 'SIGCONT');
  await training(folder, running, 4, stepOf(folder));
  expect(await running.ended, running.output()).toBe(0);
  expect(running.output()).toMatch(/many: 4\/4 ranks[^]*many: 2\/4 ranks[^]*many: 4\/4 ranks/);
  await expectTheSame(folder);
});
