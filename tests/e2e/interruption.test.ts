// What is cut off in the middle goes on: Ctrl-C, kills of the instance, of an agent, of an engine.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import {
  cleanUp,
  eventually,
  isAlive,
  job,
  kill,
  metricSteps,
  object,
  podProcesses,
  processTree,
  project,
  roleOf,
  service,
  start,
  windlass,
} from './harness.ts';

afterEach(cleanUp);

/** Long enough to be cut off in the middle, short enough to be waited for. */
const steps = 1000;
/** Checkpoints have been made, and most of the steps are still to come. */
const inTheMiddle = /step [1-9]\d\d\/1000 /;
const allSteps = Array.from({ length: steps }, (_, index) => index + 1);
const rankLog = (folder: string) => readFileSync(join(folder, '.windlass/logs/default/tiny-worker-0/agent.log'), 'utf8');
const resumedSteps = (folder: string) =>
  rankLog(folder)
    .split('\n')
    .filter((line) => line.includes('"msg":"resumed"'))
    .map((line) => (JSON.parse(line) as { step: number }).step);

async function podProcess(folder: string, role: string): Promise<number> {
  return await eventually(`a process of ${role}`, () =>
    podProcesses(join(folder, '.windlass')).find((pid) => roleOf(pid) === role),
  );
}

it('stops in order on Ctrl-C and leaves nothing running; the next run goes on from the last step and finishes', async () => {
  const folder = project(job({ steps }), service());
  const running = start(folder, 'run', '-f', 'manifest.yaml', '--exit');
  await running.until(inTheMiddle);
  const processes = processTree(running.pid);
  expect(processes.map(roleOf).sort()).toEqual(['agent', 'rank', 'run']);
  running.signal('SIGINT');
  expect(await running.ended).toBe(130);
  expect(running.output()).toContain('\nstopping; a later run goes on from here\n');
  expect(processes.filter(isAlive)).toEqual([]);

  const again = await windlass(folder, 'run', '-f', 'manifest.yaml', '--exit');
  expect(again.output).toContain('trainingjob/tiny: Succeeded');
  expect(again.code).toBe(0);
  expect(resumedSteps(folder)).toEqual([expect.any(Number)]);
  expect(resumedSteps(folder)[0]).toBeGreaterThanOrEqual(steps / 10);
  expect(metricSteps(folder)).toEqual(allSteps);
  expect((await object(folder, 'TrainingJob', 'tiny'))?.status).toMatchObject({ restarts: 0, progress: { step: steps } });
});

it('lets no pod outlive an instance that is killed; the next run goes on from the last checkpoint and finishes', async () => {
  const folder = project(job({ steps }));
  const running = start(folder, 'run', '-f', 'manifest.yaml');
  await running.until(inTheMiddle);
  const processes = processTree(running.pid);
  running.signal('SIGKILL');
  expect(await running.ended).toBe('SIGKILL');
  await eventually('the pods to end by themselves', () => !processes.some(isAlive));

  const again = await windlass(folder, 'run', '-f', 'manifest.yaml');
  expect(again.code).toBe(0);
  expect(resumedSteps(folder)[0]).toBeGreaterThanOrEqual(10);
  expect(metricSteps(folder)).toEqual(allSteps);
});

it('starts a killed agent again and counts the restart', async () => {
  const folder = project(job({ steps }));
  const running = start(folder, 'run', '-f', 'manifest.yaml');
  await running.until(inTheMiddle);
  const agent = processTree(await podProcess(folder, 'agent'));
  kill(agent[0]!, 'SIGKILL');
  await eventually('the rank to go with its agent', () => !agent.some(isAlive));
  expect(await running.ended).toBe(0);
  expect(running.output()).toContain('trainingjob/tiny: restart 1\n');
  expect(running.output()).toMatch(/trainingjob\/tiny: .*signal 9/);
  expect(metricSteps(folder)).toEqual(allSteps);
  expect((await object(folder, 'TrainingJob', 'tiny'))?.status).toMatchObject({ state: 'Succeeded', restarts: 1 });
});

it('brings the service back when its engine is killed', async () => {
  const folder = project(job(), service());
  const running = start(folder, 'run', '-f', 'manifest.yaml');
  await running.until('Serving until Ctrl-C');
  const url = /Ready at (\S+)\/v1/.exec(running.output())?.[1] ?? '';
  const ask = async () => {
    const body = JSON.stringify({ prompt: 'the', max_tokens: 4, temperature: 0 });
    const response = await fetch(`${url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
    });
    return ((await response.json()) as { choices: { text: string }[] }).choices[0]?.text;
  };
  const answer = await ask();
  const engine = await podProcess(folder, 'engine');
  kill(engine, 'SIGKILL');
  await eventually('the engine to be gone', () => !isAlive(engine));
  const next = await eventually('another engine', async () => {
    const pid = await podProcess(folder, 'engine');
    return pid === engine ? undefined : pid;
  });
  expect(await eventually('an answer', () => ask().catch(() => undefined))).toBe(answer);
  running.signal('SIGTERM');
  expect(await running.ended).toBe(143);
  expect(isAlive(next)).toBe(false);
  expect(existsSync(join(folder, '.windlass/pods'))).toBe(true);
  expect(podProcesses(join(folder, '.windlass'))).toEqual([]);
});

it('gives up when the restarts of a job are used up, and shows the end of its log', async () => {
  const folder = project(job({ steps }).replace('  output:', '  faults: { maxRestarts: 0 }\n  output:'));
  const running = start(folder, 'run', '-f', 'manifest.yaml');
  await running.until(inTheMiddle);
  const [, rank] = processTree(await podProcess(folder, 'agent'));
  kill(rank!, 'SIGKILL');
  expect(await running.ended).toBe(1);
  const [, failure] = running.output().split('trainingjob/tiny: Failed\n');
  expect(failure).toMatch(
    /^trainingjob\/tiny: gave up after 0 restarts \(faults\.maxRestarts\): tiny-worker-0, rank 0, .*SIGKILL/,
  );
  expect(failure).toContain('\ntrainingjob/tiny: | info: training starts\n');
});
