// Jobs of several ranks, each a process: they publish the weights of one rank, bit for bit, and go on when ranks are killed.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import type { RankTrace } from '#runtime/parallel/trace/chrome.ts';
import { cleanUp, eventually, object, podsOf, project, published, start, windlass } from './harness.ts';

afterEach(cleanUp);

const steps = 120;

function job(name: string, parallelism: string): string {
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
      evaluation: { everySteps: 50, sequences: 8 }
      samples: { everySteps: 60, prompt: the sea, tokens: 4 }
  parallelism: ${parallelism}
  checkpoint: { everySteps: 10 }
  faults: { maxRestarts: 20 }
  trace: { steps: 2, afterStep: 5 }
  output: { model: ${name} }
`;
}

const layouts = {
  one: '{}',
  tensor: '{ dataReplicate: 2, tensor: 2, sequenceParallel: true }',
  pipeline: '{ pipeline: 2, dataShard: 2, schedule: zb1p }',
};

/** Names of the steps in the trace of a rank, and how many events of each kind it has. */
async function traced(folder: string, name: string, rank: number) {
  const path = join(folder, '.windlass/volumes/default/windlass-jobs/default', name, `trace-rank-0000${rank}.json`);
  const { traceEvents } = JSON.parse(await readFile(path, 'utf8')) as RankTrace;
  const count = (category: string) => traceEvents.filter(({ cat }) => cat === category).length;
  const steps = traceEvents.flatMap(({ cat, name }) => (cat === 'step' ? [name] : []));
  return { steps, actions: count('action'), communicates: count('communication') > 0 };
}

it('ranks in processes publish the weights of one rank, in every layout, and a trace of the steps asked for', async () => {
  const folder = project(...Object.entries(layouts).map(([name, parallelism]) => job(name, parallelism)));
  const { code, output } = await windlass(folder, 'run', '-f', 'manifest.yaml', '--exit');
  expect(code, output).toBe(0);
  const one = await published(folder, 'one');
  expect(await published(folder, 'tensor')).toEqual(one);
  expect(await published(folder, 'pipeline')).toEqual(one);

  const traces = [traced(folder, 'one', 0), traced(folder, 'tensor', 3), traced(folder, 'pipeline', 2)];
  const traceSteps = ['step 6', 'step 7'];
  expect(await Promise.all(traces)).toEqual([
    { steps: traceSteps, actions: 2 * 8, communicates: false },
    { steps: traceSteps, actions: 2 * 4, communicates: true },
    { steps: traceSteps, actions: 2 * 6, communicates: true },
  ]);
});

it('ranks that are killed are started again in place, named, and the weights are those of an undisturbed run', async () => {
  const folder = project(job('one', layouts.one), job('pipeline', layouts.pipeline));
  const running = start(folder, 'run', '-f', 'manifest.yaml', '--exit');
  for (const [kill, share] of [0.1, 0.35, 0.6].entries()) {
    const from = Math.floor(steps * share);
    await running.until(new RegExp(`trainingjob/pipeline: step (${laterThan(from)})/${steps} `));
    const ranks = await eventually('all ranks to run', () => {
      const found = podsOf(folder, 'pipeline').flatMap(({ rank }) => rank ?? []);
      return found.length === 4 && found;
    });
    process.kill(ranks.at(-1 - kill)!, 'SIGKILL');
  }
  expect(await running.ended, running.output()).toBe(0);
  expect(running.output()).toMatch(/trainingjob\/pipeline: rank \d .*SIGKILL/);
  expect(await published(folder, 'pipeline')).toEqual(await published(folder, 'one'));
  const { status } = (await object(folder, 'TrainingJob', 'pipeline'))!;
  expect(status).toMatchObject({ state: 'Succeeded', attempt: 0 });
  expect(status?.['restarts']).toBeGreaterThanOrEqual(2);
});

/** A pattern of the numbers from `least` to the last step. */
function laterThan(least: number): string {
  return Array.from({ length: steps - least + 1 }, (_, index) => least + index).join('|');
}
