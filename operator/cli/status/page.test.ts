import { expect, it } from 'vitest';
import { label } from '#crds/names.ts';
import type { KubeObject } from '#crds/resource.ts';
import type { InferenceService, TrainingJob } from '#crds/v1alpha1/index.ts';
import { inferenceService, trainingJob } from '#operator/controllers/fixtures.ts';
import type { Event, Pod } from '#operator/kube/core.ts';
import { objectPage } from './page.ts';

const now = Date.parse('2026-11-26T10:00:00Z');

function pod(name: string, rank: number, status: Pod['status']): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels: { [label.rank]: String(rank) }, creationTimestamp: '2026-11-26T09:55:00Z' },
    spec: { nodeName: 'node-1', restartPolicy: 'Never', containers: [] },
    ...(status ? { status } : {}),
  };
}

function event(type: Event['type'], reason: string, note: string, eventTime: string): Event {
  const regarding = { apiVersion: 'windlass.dev/v1alpha1', kind: 'TrainingJob', name: 'moby', uid: 'u' };
  const meta = { apiVersion: 'events.k8s.io/v1', kind: 'Event', metadata: { name: reason } };
  return {
    ...meta,
    type,
    reason,
    note,
    eventTime,
    regarding,
    action: reason,
    reportingController: 'windlass',
    reportingInstance: 'w',
  };
}

it('shows a running job with bar, curve, ranks, conditions, last failure with remedy, pods and events, in 80 columns', () => {
  const job: TrainingJob = {
    ...trainingJob('moby', {
      parallelism: { dataReplicate: 2 },
      task: { pretrain: { steps: 600, batch: { sequences: 8, length: 128, grains: 2 } } },
    }),
    status: {
      state: 'Running',
      attempt: 0,
      restarts: 1,
      summary: { ranks: '2/2' },
      progress: { step: 241, steps: 600, loss: 5.571, tokensPerSecond: 6800, etaSeconds: 54 },
      checkpoint: { step: 200 },
      ranks: [
        { rank: 0, pod: 'moby-worker-0', step: 241, state: 'running', bytes: 431_000_000 },
        { rank: 1, pod: 'moby-worker-1', step: 240, state: 'running', phase: 'checkpointing' },
      ],
      conditions: [
        {
          type: 'Ready',
          status: 'True',
          reason: 'Running',
          message: 'all ranks run',
          lastTransitionTime: '2026-11-26T09:56:00Z',
        },
      ],
      lastFailure: {
        time: '2026-11-26T09:55:30Z',
        attempt: 0,
        rank: 1,
        pod: 'moby-worker-1',
        node: 'node-2',
        exitCode: 82,
        code: 'WL_CHECKPOINT_CORRUPT',
        message:
          'checkpoints/step-00000100/manifest.json: its checksum is not the one that it was written with, so that the folder was set aside',
        rule: 'Retryable',
        action: 'RestartPod',
        step: 100,
      },
    },
  };
  const pods = [
    pod('moby-worker-1', 1, {
      phase: 'Pending',
      containerStatuses: [{ name: 'agent', ready: false, restartCount: 0, state: { waiting: { reason: 'ContainerCreating' } } }],
    }),
    pod('moby-worker-0', 0, {
      phase: 'Running',
      containerStatuses: [{ name: 'agent', ready: true, restartCount: 2, state: { running: {} } }],
    }),
  ];
  const events = [
    event(
      'Warning',
      'ReplacingPod',
      'moby-worker-1, rank 1, exit code 82, WL_CHECKPOINT_CORRUPT: the folder was set aside. Nothing needs to be done.',
      '2026-11-26T09:55:30.000000Z',
    ),
    event('Normal', 'PodCreated', 'made pod moby-worker-1, attempt 0', '2026-11-26T09:54:00.000000Z'),
  ];
  const lines = objectPage({ object: job, pods, events, losses: [8.3, 7, 6.2, 5.8, 5.6] }, 80, now);
  for (const line of lines) expect([...line].length).toBeLessThanOrEqual(80);
  expect(lines.join('\n')).toMatchInlineSnapshot(`
    "moby  TrainingJob  Running  2/2 ranks  1 restart
      ████████████████████▏░░░░░░░░░░░░░░░░░░░░░░░░░░░░░ 40 %  step 241/600
      rank  pod       doing          step  time  memory  waits in
      0     worker-0  running        241         431 MB
      1     worker-1  checkpointing  240
      loss 5.571  6,800 tok/s  ETA 54s  saved at 200
      █▅▃▂▁ loss

    Conditions
      Ready       True    Running, since 4m 00s
        all ranks run

    Last failure
      4m 30s ago, rank 1, pod moby-worker-1, node node-2, exit code 82,
      WL_CHECKPOINT_CORRUPT, step 100
      checkpoints/step-00000100/manifest.json: its checksum is not the one that it
      was written with, so that the folder was set aside
      What to do: The newest good checkpoint is used; delete the folder named if it
      is of no use.
      rule Retryable, action RestartPod

    Pods
      pod            node    state              restarts  age
      moby-worker-0  node-1  Running            2         5m 00s
      moby-worker-1  node-1  ContainerCreating  0         5m 00s

    Events
      6m 00s    PodCreated: made pod moby-worker-1, attempt 0
      4m 30s  ! ReplacingPod: moby-worker-1, rank 1, exit code 82,
                WL_CHECKPOINT_CORRUPT: the folder was set aside. Nothing needs to be
                done."
  `);
});

it('shows a service with its model and the failure of a pod', () => {
  const service: InferenceService = {
    ...inferenceService('moby'),
    status: {
      readyReplicas: 0,
      model: {
        state: 'Failed',
        target: 'moby-2',
        lastFailure: {
          time: '2026-11-26T09:59:00Z',
          pod: 'moby-1f2e3d4c-0',
          exitCode: 64,
          code: 'WL_MODEL_INVALID',
          message: 'config.json lacks hidden_size',
          remedy: 'Export it again.',
        },
      },
      conditions: [
        {
          type: 'Ready',
          status: 'False',
          reason: 'EngineFailed',
          message: 'moby-1f2e3d4c-0, exit code 64',
          lastTransitionTime: '2026-11-26T09:59:00Z',
        },
      ],
    },
  };
  expect(objectPage({ object: service, pods: [], events: [], losses: [] }, 80, now).join('\n')).toMatchInlineSnapshot(`
    "moby  InferenceService  Failed  0/1
      model moby-2

    Conditions
      Ready       False   EngineFailed, since 1m 00s
        moby-1f2e3d4c-0, exit code 64

    Last failure
      1m 00s ago, pod moby-1f2e3d4c-0, exit code 64, WL_MODEL_INVALID
      config.json lacks hidden_size
      What to do: Export it again.

    Pods
      none"
  `);
});

it('shows the facts of other kinds', () => {
  const version: KubeObject & { spec: object } = {
    apiVersion: 'windlass.dev/v1alpha1',
    kind: 'ModelVersion',
    metadata: { name: 'moby-1' },
    spec: { model: 'moby', number: 1, metrics: { heldOutLoss: 5.3 } },
  };
  expect(objectPage({ object: version, pods: [], events: [], losses: [] }, 80, now)).toEqual([
    'moby-1  ModelVersion',
    '  model: moby',
    '  number: 1',
  ]);
});
