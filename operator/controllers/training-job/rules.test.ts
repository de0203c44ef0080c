import { describe, expect, it } from 'vitest';
import type { TrainingJobStatus } from '#crds/v1alpha1/index.ts';
import { isoTime } from '#operator/kube/clock.ts';
import type { Pod } from '#operator/kube/core.ts';
import { effective, job, now, plan, pod, said } from './testing.ts';
import type { PodState } from './testing.ts';

const two = {
  parallelism: { dataReplicate: 2 },
  task: { pretrain: { steps: 400, batch: { sequences: 8, length: 128, grains: 2 } } },
};
const ruled = (rules: object[], status: Partial<TrainingJobStatus> = {}, maxRestarts = 3) =>
  job({ ...two, faults: { maxRestarts, rules } }, { effective, state: 'Running', startTime: isoTime(now - 60_000), ...status });
const pods = (state: PodState, other: PodState = {}) => [pod({ rank: 0, ...other }, two), pod({ rank: 1, ...state }, two)];
const exits = (exitCode: number, words: PodState['words'] = {}): PodState => ({ phase: 'Failed', exitCode, endedAgo: 5, words });

describe('a rule of the job', () => {
  it.each([
    ['fails it at what would have passed', { exitCodes: [7], action: 'Fail' }, exits(7), { state: 'Failed', restarts: 0 }],
    ['lets a user error pass', { exitCodes: [64], action: 'RestartPod' }, exits(64), { state: 'Restarting', restarts: 1 }],
    ['restarts free of charge', { exitCodes: ['1-20'], action: 'Ignore' }, exits(7), { state: 'Restarting', restarts: 0 }],
    ['raises the attempt for all', { exitCodes: [7], action: 'RestartGang' }, exits(7), { state: 'Restarting', attempt: 1 }],
    [
      'may take even an eviction for a fault',
      { reasons: ['Evicted'], action: 'Fail' },
      { ...exits(137), reason: 'Evicted' },
      { state: 'Failed' },
    ],
    [
      'that an agent decided by is taken from its word',
      { codes: ['WL_HANG'], name: 'by-name', action: 'RestartGang' },
      exits(80, { rule: 'by-name' }),
      { attempt: 1 },
    ],
    ['never is for a pod that only followed', { action: 'Fail' }, exits(92), { state: 'Restarting', restarts: 0 }],
  ])('%s', (_, rule, state, expected) => {
    const { status } = plan({ job: ruled([{ name: 'rule', ...rule }]), pods: pods(state) });
    expect(status).toMatchObject(expected);
  });

  it('does not reach beyond the budget', () => {
    const spent = plan({
      job: ruled([{ name: 'rule', exitCodes: [7], action: 'RestartPod' }], { restarts: 3 }),
      pods: pods(exits(7)),
    });
    expect([spent.status.state, spent.status.lastFailure?.rule]).toEqual(['Failed', 'MaxRestarts']);
  });

  it('keeps away from at most 32 nodes, the newest, until the job is suspended', () => {
    const nodes = Array.from({ length: 32 }, (_, index) => `old-${index}`);
    const seen = ruled([{ name: 'sick', exitCodes: [86], action: 'ExcludeNode' }], { excludedNodes: nodes });
    const { status } = plan({ job: seen, pods: pods(exits(86)) });
    expect(status.excludedNodes).toEqual([...nodes.slice(1), 'node-1']);
    expect(status.lastFailure).toMatchObject({ action: 'ExcludeNode', node: 'node-1', charged: true });
    const suspended = { ...seen, spec: { ...seen.spec, suspend: true } };
    expect(plan({ job: suspended, pods: [] }).status.excludedNodes).toBeUndefined();
  });
});

describe('waits between restarts', () => {
  const failing = (status: Partial<TrainingJobStatus>, words: PodState['words'] = {}) => {
    const seen = { job: ruled([], { faultsInARow: 6, ...status }, 99), pods: pods(exits(75, words), exits(92)) };
    const { nextRestartTime, faultsInARow } = plan(seen).status;
    return [nextRestartTime === undefined ? 0 : (Date.parse(nextRestartTime) - now) / 1000, faultsInARow];
  };

  it('double without a new step, up to five minutes', () => {
    expect(failing({})).toEqual([64, 7]);
    expect(failing({ faultsInARow: 40 })).toEqual([300, 41]);
  });

  it('begin anew after a step that was new', () => {
    const lastFailure = { time: isoTime(now - 60_000), step: 100 };
    expect(failing({ lastFailure }, { step: 101 })).toEqual([1, 1]);
    expect(failing({ lastFailure }, { step: 100 })).toEqual([64, 7]);
  });
});

describe('a pod that does not come up', () => {
  const waiting = (reason: string, seconds: number): Pod => {
    const made = pod({ rank: 1, phase: 'Running' }, two);
    const status = {
      phase: 'Pending' as const,
      conditions: [{ type: 'Ready', status: 'False' as const }],
      containerStatuses: [
        { name: 'agent', ready: false, restartCount: 0, state: { waiting: { reason, message: 'no such image' } } },
      ],
    };
    return { ...made, metadata: { ...made.metadata, creationTimestamp: isoTime(now - seconds * 1000) }, status };
  };
  const seen = (rule: object, pods: Pod[]) =>
    said(plan({ job: ruled([{ name: 'rule', ...rule }], { state: 'Starting' }), pods: [pod({}, two), ...pods] }));

  it('is waited for as long as its rule has patience, and looked at again then', () => {
    const rule = { reasons: ['ImagePull'], action: 'Fail' };
    expect(seen(rule, [waiting('ErrImagePull', 100)])).toMatchObject({ state: 'Starting', requeueAfterMs: 200_000 });
    expect(seen(rule, [waiting('ErrImagePull', 301)])).toMatchObject({ state: 'Failed' });
    expect(seen({ ...rule, afterSeconds: 600 }, [waiting('ErrImagePull', 301)])).toMatchObject({
      state: 'Starting',
      requeueAfterMs: 299_000,
    });
  });

  it('is NotReady by whatever keeps it', () => {
    const rule = { reasons: ['NotReady'], afterSeconds: 60, action: 'RestartPod' };
    expect(seen(rule, [waiting('ContainerCreating', 61)])).toMatchObject({ state: 'Restarting', restarts: 1, attempt: 0 });
    expect(seen({ ...rule, reasons: ['Unschedulable'] }, [waiting('ContainerCreating', 61)])).toMatchObject({
      state: 'Starting',
      restarts: 0,
    });
  });

  it('counts once, though it is still there when its end is carried out', () => {
    const rules = [{ name: 'rule', reasons: ['NotReady'], afterSeconds: 0, action: 'RestartPod' }];
    const stuck = waiting('ContainerCreating', 5);
    const counted = plan({ job: ruled(rules, { state: 'Starting' }), pods: [pod({}, two), stuck] }).status;
    const next = said(plan({ job: ruled(rules, counted), pods: [pod({}, two), stuck] }));
    expect(next).toMatchObject({ actions: expect.arrayContaining(['delete moby-worker-1 attempt 0']), restarts: 1 });
  });
});

describe('a pod that does not end', () => {
  const leaving = (agoSeconds: number): Pod => {
    const made = pod({ rank: 1, deleting: true }, two);
    return { ...made, metadata: { ...made.metadata, deletionTimestamp: isoTime(now - agoSeconds * 1000) } };
  };
  const seen = (agoSeconds: number, more: object = {}) =>
    plan({ job: ruled([], { state: 'Restarting', replacing: ['pod-0-1'] }), pods: [pod({}, two), leaving(agoSeconds)], ...more });

  it('is named when its grace time is over, and removed by force a minute later', () => {
    expect(seen(-5).status.conditions?.[0]).toMatchObject({ reason: 'Starting' });
    expect(seen(5).status.conditions?.[0]?.message).toMatchInlineSnapshot(
      `"pod moby-worker-1 on node node-1 does not end, and its successor needs its name; it is removed by force at 2026-01-01T12:00:55Z. If it repeats, look at its node."`,
    );
    expect(said(seen(5))).toMatchObject({ requeueAfterMs: 55_000 });
    expect(seen(60).actions).toEqual([expect.objectContaining({ type: 'removePod' })]);
    expect(seen(60).events.map(({ reason }) => reason)).toEqual(['PodRemoved']);
  });

  it('is removed while the job is suspended too, and is then no fault', () => {
    const suspended = job({ ...two, suspend: true }, { effective, state: 'Running' });
    const { actions, status } = plan({ job: suspended, pods: [leaving(60)] });
    expect(actions.map(({ type }) => type)).toEqual(['removePod']);
    const resumed = { ...suspended, spec: { ...suspended.spec, suspend: false }, status };
    const after = plan({ job: resumed, pods: [leaving(10)] }).status;
    expect([after.state, after.lastFailure]).toEqual(['Starting', undefined]);
  });
});
