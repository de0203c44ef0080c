// Jobs of several ranks, each a process: they publish the weights of one rank, bit for bit, and traces of their steps.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import type { RankTrace } from '#runtime/parallel/trace/chrome.ts';
import { cleanUp, project, published, windlass } from './harness.ts';
import { parallelJob } from './parallel-job.ts';

afterEach(cleanUp);

const steps = 120;

const job = (name: string, parallelism: string) =>
  parallelJob(name, {
    steps,
    parallelism,
    pretrain: ['evaluation: { everySteps: 50, sequences: 8 }', 'samples: { everySteps: 60, prompt: the sea, tokens: 4 }'],
    spec: ['trace: { steps: 2, afterStep: 5 }'],
  });

const layouts = {
  one: '{}',
  tensor: '{ dataReplicate: 2, tensor: 2, sequenceParallel: true, encryption: tls }',
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
