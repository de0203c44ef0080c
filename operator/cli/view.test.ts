import { expect, it } from 'vitest';
import { renderView } from './view.ts';
import type { View } from './view.ts';

const view: View = {
  title: 'windlass  examples/quickstart.yaml',
  elapsedSeconds: 75,
  jobs: [
    {
      name: 'moby',
      state: 'Running',
      step: 212,
      steps: 400,
      loss: 5.1234,
      heldOutLoss: 5.4,
      tokensPerSecond: 11_234,
      etaSeconds: 68,
      restarts: 1,
      checkpointStep: 200,
      losses: [8.3, 7, 6.4, 6, 5.8, 5.6, 5.4, 5.2],
    },
  ],
  services: [{ name: 'moby', state: 'Waiting', replicas: '0/1', message: 'waits for the first version of model moby' }],
};

it('shows a job and a service in 80 columns', () => {
  expect(`\n${renderView(view, 80).join('\n')}\n`).toMatchInlineSnapshot(`
    "
    windlass  examples/quickstart.yaml                                        1m 15s

    moby  TrainingJob  Running  1 restart
      ██████████████████████████▌░░░░░░░░░░░░░░░░░░░░░░░ 53 %  step 212/400
      loss 5.123  held-out 5.400  11,234 tok/s  ETA 1m 08s  saved at 200
      █▅▄▃▂▂▁▁ loss

    moby  InferenceService  Waiting  0/1
      waits for the first version of model moby
    "
  `);
});

it('shows a line per rank below the bar, and the fault that was healed last', () => {
  const ranks = [0, 1, 2, 3].map((rank) => ({
    rank,
    pod: `moby-worker-${rank}`,
    state: rank === 2 ? 'silent' : 'running',
    phase: 'stepping',
    step: 212,
    stepMs: 310,
    rssBytes: 4.4e8,
    ...(rank === 2 ? {} : { waitsIn: 'all-reduce, block 3 gradient' }),
  }));
  const fault =
    'rank 1 (pod moby-worker-1) was ended by SIGKILL at step 97; all 4 ranks start again (restart 1 of 3); trained again after 3.1 s';
  const straggler = 'rank 3 (pod moby-worker-3) takes 2.1 times the median step';
  const job = { ...view.jobs[0]!, losses: [], rankCount: '4/4', ranks, fault, straggler };
  expect(`\n${renderView({ title: 'x', elapsedSeconds: 1, jobs: [job], services: [] }, 80).join('\n')}\n`).toMatchInlineSnapshot(`
    "
    x                                                                             1s

    moby  TrainingJob  Running  4/4 ranks  1 restart
      ██████████████████████████▌░░░░░░░░░░░░░░░░░░░░░░░ 53 %  step 212/400
      rank  pod            doing     step  time    memory  waits in
      0     moby-worker-0  stepping  212   310 ms  440 MB  all-reduce, block 3 grad…
      1     moby-worker-1  stepping  212   310 ms  440 MB  all-reduce, block 3 grad…
      2     moby-worker-2  silent    212   310 ms  440 MB
      3     moby-worker-3  stepping  212   310 ms  440 MB  all-reduce, block 3 grad…
      rank 3 (pod moby-worker-3) takes 2.1 times the median step
      rank 1 (pod moby-worker-1) was ended by SIGKILL at step 97; all 4 ranks start
      again (restart 1 of 3); trained again after 3.1 s
      loss 5.123  held-out 5.400  11,234 tok/s  ETA 1m 08s  saved at 200
    "
  `);
});

it('shows why a job failed, and of its log what is not said already, cut off or not', () => {
  const message = 'moby-worker-0, rank 0, exit code 64, WL_LOSS_NOT_FINITE: the loss of step 7 is NaN. Lower the learning rate.';
  const logTail = [
    '{"level":"info","time":"2026-01-01T00:00:00Z","step":0,"msg":"training starts"}',
    'a line of "plain" text',
    '{"level":"error","err":{"message":"the loss of step 7 is NaN","stack":"cut o',
  ].join('\n');
  const failed = { name: 'moby', state: 'Failed', step: 7, steps: 400, restarts: 0, losses: [], message, logTail };
  expect(`\n${renderView({ title: 'x', elapsedSeconds: 1, jobs: [failed], services: [] }, 60).join('\n')}\n`)
    .toMatchInlineSnapshot(`
    "
    x                                                         1s

    moby  TrainingJob  Failed
      moby-worker-0, rank 0, exit code 64, WL_LOSS_NOT_FINITE:
      the loss of step 7 is NaN. Lower the learning rate.
      | info: training starts
      | a line of "plain" text
    "
  `);
});

it('never draws beyond the terminal', () => {
  for (const width of [20, 40, 79, 200])
    for (const line of renderView(view, width)) expect([...line].length).toBeLessThanOrEqual(width);
});

it('shows what comes from a server: bytes, speed, time left, and what stands in its way', () => {
  const transfer = {
    bytes: 1.2e9,
    totalBytes: 2.8e9,
    bytesPerSecond: 3.4e7,
    etaSeconds: 47,
    trouble: 'busy; tried again in 2 s',
  };
  const job = { name: 'moby', state: 'Running', step: 0, steps: 0, restarts: 0, losses: [], phase: 'downloading data' };
  const lines = (more: object) => renderView({ ...view, jobs: [{ ...job, ...more }], services: [] }, 80).slice(3);
  expect(lines({ phaseShare: 0.43, transfer })).toEqual([
    '  downloading data 43 %  1.2 GB of 2.8 GB  34 MB/s  ETA 47s',
    '  busy; tried again in 2 s',
  ]);
  expect(lines({ transfer: { bytes: 512 } })).toEqual(['  downloading data  512 B']);
});
