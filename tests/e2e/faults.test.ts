// Pods and ranks that are stopped, killed, frozen for good or moved to another layout, with real training: named, replaced, and not a bit of the result changes.
import { afterEach, expect, it } from 'vitest';
import {
  cleanUp,
  eventually,
  kill,
  lossesOf,
  metricSteps,
  object,
  podLog,
  podsOf,
  project,
  published,
  start,
  windlass,
  writeManifests,
} from './harness.ts';
import type { Windlass } from './harness.ts';

afterEach(cleanUp);

/** A pod must be back for 5 s before the world grows. */
const elasticWaitMs = 5_000;

interface Job {
  readonly steps: number;
  readonly parallelism?: string;
  readonly hangSeconds?: number;
  /** More of the spec, one field a line. */
  readonly more?: string;
}

function job(name: string, { steps, parallelism = '{}', hangSeconds = 5, more = '' }: Job): string {
  return `apiVersion: windlass.dev/v1alpha1
kind: TrainingJob
metadata: { name: ${name} }
spec:
  model: { family: gpt2, config: { hiddenSize: 32, layers: 4, heads: 4, dropout: 0.1 } }
  data: { uri: ./texts, tokenizer: { train: { vocabularySize: 300 } } }
  task:
    pretrain:
      steps: ${steps}
      batch: { sequences: 8, length: 32, grains: 4 }
      optimizer: { learningRate: 3e-3 }
  parallelism: ${parallelism}
  checkpoint: { everySteps: 10 }
  faults: { maxRestarts: 20, hangTimeoutSeconds: ${hangSeconds} }
  output: { model: ${name} }
${more}`;
}

const stepOf = (folder: string, name = 'many') => metricSteps(folder, name).at(-1) ?? 0;

/** Waits for this many ranks and some steps of theirs beyond `after`; gives the pods then. */
async function training(folder: string, running: Windlass, ranks: number, after: number) {
  return await eventually(`${ranks} ranks to train beyond step ${after}`, () => {
    if (running.hasEnded()) throw new Error(`the run ended before:\n${running.output()}`);
    const pods = podsOf(folder, 'many');
    return pods.filter(({ rank }) => rank !== undefined).length === ranks && stepOf(folder) > after + 5 && pods;
  });
}

async function expectTheSame(folder: string): Promise<void> {
  expect(lossesOf(folder, 'many')).toEqual(lossesOf(folder, 'one'));
  expect(await published(folder, 'many')).toEqual(await published(folder, 'one'));
}

it('a rank that stands still, a pod that is killed and the pod of the rendezvous are named and replaced, and the weights are those of one undisturbed rank', async () => {
  const steps = 200;
  const folder = project(job('one', { steps }), job('many', { steps, parallelism: '{ dataShard: 2, tensor: 2 }' }));
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
  const settings = { steps: 200, hangSeconds: 60 };
  const elastic = { parallelism: '{ dataReplicate: 4 }', more: '  elastic: { minRanks: 2 }\n' };
  const folder = project(job('one', settings), job('many', { ...settings, ...elastic }));
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

it('a job that Ctrl-C stops in the middle goes on in another layout of more and of fewer ranks, and the weights are those of one rank', async () => {
  const steps = 200;
  const layouts = [
    '{ pipeline: 2, schedule: zb1p }',
    '{ dataReplicate: 2, tensor: 2, sequenceParallel: true }',
    '{ dataShard: 2 }',
  ];
  const folder = project(job('one', { steps }));
  expect((await windlass(folder, 'run', '-f', 'manifest.yaml', '--exit')).code).toBe(0);
  const run = (parallelism: string, suspend: boolean) => {
    writeManifests(folder, job('many', { steps, parallelism, more: `  suspend: ${suspend}\n` }));
    return start(folder, 'run', '-f', 'manifest.yaml', '--exit');
  };
  for (const [index, parallelism] of layouts.entries()) {
    if (index > 0) {
      // The layout of a job may change only while the job is suspended.
      const suspended = run(parallelism, true);
      expect(await suspended.ended, suspended.output()).toBe(1);
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
