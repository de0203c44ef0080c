// Ranks of a job that are killed at random moments: how soon that is seen, how soon the job trains again, and that no figure of it changes.
import { afterEach, expect, it } from 'vitest';
import { cleanUp, eventually, kill, lossesOf, lossLines, object, podLog, podsOf, project, published, start } from './harness.ts';
import { checkpointSteps, parallelJob, stepOf } from './parallel-job.ts';
import { randomNumbers } from '../random-numbers.ts';

afterEach(cleanUp);

/** WL_KILLS asks for more. */
const kills = Number(process.env['WL_KILLS'] ?? 5);
const steps = 200 + kills * 60;
const ranks = 4;
/** A kill comes within so many steps after the job trains again, so that no machine is too fast for all of them. */
const mostSteps = 40;

interface Kill {
  /** Times in ms from the kill until the rendezvous named the rank, and until the first step after that was done. */
  readonly detectMs: number;
  readonly healMs: number;
  readonly repeatedSteps: number;
}

it(`${kills} ranks killed at random moments are named and replaced, and every loss is that of one undisturbed rank`, async () => {
  const folder = project(
    parallelJob('one', { steps }),
    parallelJob('many', { steps, parallelism: '{ pipeline: 2, dataShard: 2, schedule: zb1p }' }),
  );
  const running = start(folder, 'run', '-f', 'manifest.yaml', '--exit');
  const done: Kill[] = [];
  const random = randomNumbers(1);
  let healedAt = 0;
  while (done.length < kills) {
    const pids = await eventually('all ranks to train', () => {
      if (running.hasEnded()) throw new Error(`the run ended before:\n${running.output()}`);
      const found = podsOf(folder, 'many').flatMap(({ rank }) => rank ?? []);
      return found.length === ranks && newestTime(folder) >= healedAt && newestTime(folder) > 0 && found;
    });
    const from = stepOf(folder);
    const wait = random.next().value * mostSteps;
    await eventually('a random step', () => stepOf(folder) >= from + wait);
    const rank = Math.floor(random.next().value * ranks);
    // Taken before: on a busy machine the agents may be faster than this process is to look at the clock after it.
    const killedAt = Date.now();
    kill(pids[rank]!, 'SIGKILL');
    const stepThen = lossLines(folder, 'many').at(-1)!.step;
    const fault = await eventually('the rank to be named', () =>
      podLog(folder, 'many-worker-0').find(
        ({ time, msg }) => Date.parse(time) >= killedAt && /^rank \d+ .*ranks start again/.test(msg),
      ),
    );
    expect(fault.msg).toMatch(new RegExp(`^rank ${rank} \\(pod many-worker-${rank}\\) was ended by SIGKILL`));
    const detectedAt = Date.parse(fault.time);
    const first = await eventually('the job to train again', () =>
      lossLines(folder, 'many').find(({ time }) => Date.parse(time) > detectedAt),
    );
    healedAt = Date.parse(first.time);
    const seen = {
      detectMs: detectedAt - killedAt,
      healMs: healedAt - killedAt,
      repeatedSteps: Math.max(0, stepThen - first.step + 1),
    };
    done.push(seen);
    const what = fault.msg.slice(0, fault.msg.lastIndexOf(';'));
    print(`named after ${seen.detectMs} ms, healed after ${seen.healMs} ms, ${seen.repeatedSteps} steps repeated: ${what}`);
  }
  expect(await running.ended, running.output()).toBe(0);
  expect(lossesOf(folder, 'many')).toEqual(lossesOf(folder, 'one'));
  expect(await published(folder, 'many')).toEqual(await published(folder, 'one'));
  expect((await object(folder, 'TrainingJob', 'many'))?.status).toMatchObject({ attempt: 0, restarts: kills });
  report(done);
  // A checkpoint may be on its way to the disk when the next one is due.
  expect(Math.max(...done.map(({ repeatedSteps }) => repeatedSteps))).toBeLessThanOrEqual(2 * checkpointSteps);
}, 3_600_000);

function newestTime(folder: string): number {
  return Date.parse(lossLines(folder, 'many').at(-1)?.time ?? '') || 0;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

function report(done: readonly Kill[]): void {
  const figures = (of: (kill: Kill) => number) => {
    const values = done.map(of);
    return `${median(values)}, worst ${Math.max(...values)}`;
  };
  const times = `ms to be named: median ${figures(({ detectMs }) => detectMs)}; to train again: median ${figures(({ healMs }) => healMs)}`;
  print(`${done.length} kills; ${times}; steps repeated: median ${figures(({ repeatedSteps }) => repeatedSteps)}`);
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
