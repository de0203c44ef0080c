import { expect, it } from 'vitest';
import { linesOfChange } from './plain-lines.ts';
import type { JobView, View } from './view.ts';

const job = (values: Partial<JobView>): JobView => ({
  name: 'moby',
  state: 'Running',
  step: 0,
  steps: 400,
  restarts: 0,
  losses: [],
  ...values,
});
const view = (jobs: JobView[], services: View['services'] = []): View => ({ title: '', elapsedSeconds: 0, jobs, services });

it('tells states, phases and messages once', () => {
  const first = view([job({ state: 'Pending' })]);
  const second = view([job({ phase: 'tokenizing' })]);
  expect(linesOfChange(undefined, first)).toEqual([]);
  expect(linesOfChange(first, second)).toEqual(['trainingjob/moby: Running', 'trainingjob/moby: tokenizing']);
  expect(linesOfChange(second, second)).toEqual([]);
});

it('tells the first step and every tenth of the steps', () => {
  const steps = [0, 1, 2, 39, 40, 41, 80, 400];
  const lines = steps
    .slice(1)
    .flatMap((step, index) =>
      linesOfChange(view([job({ step: steps[index]! })]), view([job({ step, loss: 5, tokensPerSecond: 9000, etaSeconds: 61 })])),
    );
  expect(lines).toEqual([
    'trainingjob/moby: step 1/400  loss 5.000  9,000 tok/s  ETA 1m 01s',
    'trainingjob/moby: step 40/400  loss 5.000  9,000 tok/s  ETA 1m 01s',
    'trainingjob/moby: step 80/400  loss 5.000  9,000 tok/s  ETA 1m 01s',
    'trainingjob/moby: step 400/400  loss 5.000  9,000 tok/s',
  ]);
});

it('tells how many ranks there are, which stopped, and what was done about it', () => {
  const ranks = (state: string) =>
    [0, 1].map((rank) => ({ rank, pod: `moby-worker-${rank}`, state: rank === 1 ? state : 'running' }));
  const fault = 'rank 1 (pod moby-worker-1) was ended by SIGKILL; all 2 ranks start again (restart 1 of 3)';
  const states = [
    job({ rankCount: '2/2', ranks: ranks('running') }),
    job({ rankCount: '2/2', ranks: ranks('lost') }),
    job({ rankCount: '2/2', ranks: ranks('starting'), restarts: 1, fault }),
    job({ rankCount: '2/2', ranks: ranks('running'), restarts: 1, fault: `${fault}; trained again after 3.1 s` }),
  ];
  const lines = states.flatMap((after, index) =>
    linesOfChange(index === 0 ? undefined : view([states[index - 1]!]), view([after])),
  );
  expect(`\n${lines.join('\n')}\n`).toMatchInlineSnapshot(`
    "
    trainingjob/moby: Running
    trainingjob/moby: 2/2 ranks
    trainingjob/moby: rank 1 (pod moby-worker-1) is lost
    trainingjob/moby: restart 1
    trainingjob/moby: rank 1 (pod moby-worker-1) was ended by SIGKILL; all 2 ranks start again (restart 1 of 3)
    trainingjob/moby: trained again after 3.1 s
    "
  `);
});

it('tells where a service answers', () => {
  const waiting = { name: 'moby', state: 'Waiting', replicas: '0/1', message: 'waits for a version of model moby' };
  const ready = { name: 'moby', state: 'Ready', replicas: '1/1', url: 'http://127.80.0.1:8080' };
  expect(linesOfChange(view([], [waiting]), view([], [ready]))).toEqual([
    'inferenceservice/moby: Ready at http://127.80.0.1:8080/v1',
  ]);
});

it('tells every fourth of what comes from a server, and why it is tried again, once', () => {
  const at = (bytes: number, trouble?: string) =>
    job({
      phase: 'downloading data',
      transfer: { bytes, totalBytes: 4e9, bytesPerSecond: 2e8, etaSeconds: 15, ...(trouble === undefined ? {} : { trouble }) },
    });
  const states = [at(0), at(9e8), at(1e9), at(1.1e9, 'https://a/x answered GET with 503; tried again in 2 s'), at(4e9)];
  const lines = states.flatMap((after, index) =>
    linesOfChange(view([index === 0 ? job({}) : states[index - 1]!]), view([after])),
  );
  expect(lines).toEqual([
    'trainingjob/moby: downloading data',
    'trainingjob/moby: downloading data: 1.0 GB of 4.0 GB  200 MB/s  ETA 15s',
    'trainingjob/moby: https://a/x answered GET with 503; tried again in 2 s',
    'trainingjob/moby: downloading data: 4.0 GB of 4.0 GB  200 MB/s  ETA 15s',
  ]);
});
