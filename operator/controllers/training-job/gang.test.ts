import { describe, expect, it } from 'vitest';
import type { TrainingJobStatus } from '#crds/v1alpha1/index.ts';
import { isoTime } from '#operator/kube/clock.ts';
import type { Service } from '#operator/kube/core.ts';
import { ExitCode } from '#runtime/api/exit-codes.ts';
import type { ProgressReport } from '#runtime/api/messages.ts';
import { lastWords } from '../fixtures.ts';
import type { Observed } from './decision.ts';
import { workersService } from './pods.ts';
import { newsDueIn } from './running.ts';
import { conditions, effective, job, now, plan, pod, said } from './testing.ts';
import type { PodState } from './testing.ts';

const batch = { sequences: 8, length: 128, grains: 4 };
const spec = {
  parallelism: { dataReplicate: 2, tensor: 2 },
  task: { pretrain: { steps: 400, batch } },
};
const four = (status: Partial<TrainingJobStatus> = {}, more: object = {}) =>
  job({ ...spec, ...more }, { effective, startTime: isoTime(now - 60_000), ...status });
const service: Service = workersService(four());

/** Pods of four ranks; those not mentioned run. */
function pods(states: Record<number, PodState | 'missing'> = {}) {
  return [0, 1, 2, 3].flatMap((rank) => {
    const state = states[rank] ?? {};
    return state === 'missing' ? [] : [pod({ rank, ...state }, spec)];
  });
}

const ends = (exitCode: number, endedAgo: number, more: PodState = {}): PodState => ({
  phase: exitCode === 0 ? 'Succeeded' : 'Failed',
  exitCode,
  endedAgo,
  ...more,
});
const killed = (endedAgo: number, more: PodState = {}) => ends(137, endedAgo, { signal: 9, ...more });
const { follow, done, retryable, rankLost, preempted, userError } = ExitCode;

describe('the plan of a job of four ranks', () => {
  const table: [string, Partial<Observed>, ReturnType<typeof said>][] = [
    [
      'makes the Service, then a pod per rank',
      { job: four() },
      {
        actions: [
          'service moby-workers',
          'create moby-worker-0 attempt 0',
          'create moby-worker-1 attempt 0',
          'create moby-worker-2 attempt 0',
          'create moby-worker-3 attempt 0',
        ],
        state: 'Starting',
        attempt: 0,
        restarts: 0,
      },
    ],
    ['needs nothing while all run', { pods: pods() }, { actions: [], state: 'Running', attempt: 0, restarts: 0 }],
    [
      'makes a pod that somebody deleted again, in the same attempt and free of charge',
      { pods: pods({ 2: 'missing' }) },
      { actions: ['create moby-worker-2 attempt 0'], state: 'Starting', attempt: 0, restarts: 0 },
    ],
    [
      'counts a killed pod before it makes room for another',
      { pods: pods({ 2: killed(0) }) },
      { actions: [], state: 'Restarting', attempt: 0, restarts: 1 },
    ],
    [
      'then deletes it',
      { job: four({ restarts: 1, replacing: ['pod-0-2'] }), pods: pods({ 2: killed(1) }) },
      { actions: ['delete moby-worker-2 attempt 0'], state: 'Starting', attempt: 0, restarts: 1 },
    ],
    [
      'counts pods that died together once',
      { pods: pods({ 1: killed(1), 2: killed(0) }) },
      { actions: [], state: 'Restarting', attempt: 0, restarts: 1 },
    ],
    [
      'counts one that dies at once after it with it',
      {
        job: four({
          restarts: 1,
          replacing: ['pod-0-2'],
          lastFailure: { time: isoTime(now - 2000), attempt: 0, action: 'RestartPod' },
        }),
        pods: pods({ 1: killed(0), 2: killed(2) }),
      },
      { actions: [], state: 'Restarting', attempt: 0, restarts: 1 },
    ],
    [
      'counts one apart that dies when all ran again',
      {
        job: four({
          state: 'Running',
          restarts: 1,
          lastFailure: { time: isoTime(now - 2000), attempt: 0, action: 'RestartPod' },
        }),
        pods: pods({ 1: killed(0) }),
      },
      { actions: [], state: 'Restarting', attempt: 0, restarts: 2 },
    ],
    [
      'replaces a pod that was asked to stop free of charge',
      { pods: pods({ 3: ends(preempted, 1) }) },
      { actions: [], state: 'Restarting', attempt: 0, restarts: 0 },
    ],
    [
      'waits whether the others follow a pod that ended of its own accord',
      { pods: pods({ 1: ends(retryable, 1) }) },
      { actions: [], state: 'Starting', attempt: 0, restarts: 0, requeueAfterMs: 2000 },
    ],
    [
      'replaces it if they do not',
      { pods: pods({ 1: ends(retryable, 4) }) },
      { actions: [], state: 'Restarting', attempt: 0, restarts: 1 },
    ],
    [
      'waits for the rest if they do',
      { pods: pods({ 1: ends(retryable, 1), 3: ends(follow, 0) }) },
      { actions: [], state: 'Starting', attempt: 0, restarts: 0, requeueAfterMs: 3000 },
    ],
    [
      'then raises the attempt',
      { pods: pods({ 0: ends(follow, 0), 1: ends(retryable, 1), 2: ends(follow, 0), 3: ends(follow, 0) }) },
      { actions: [], state: 'Restarting', attempt: 1, restarts: 1 },
    ],
    [
      'or if the rest does not come',
      { pods: pods({ 1: ends(retryable, 4), 3: ends(follow, 3) }) },
      { actions: [], state: 'Restarting', attempt: 1, restarts: 1 },
    ],
    [
      'raises the attempt when all are gone',
      { pods: pods({ 0: killed(0), 1: killed(0), 2: killed(0), 3: killed(0) }) },
      { actions: [], state: 'Restarting', attempt: 1, restarts: 1 },
    ],
    [
      'charges nothing for a follower whose cause is not there any more',
      { pods: pods({ 1: ends(follow, 3), 2: 'missing' }) },
      { actions: [], state: 'Restarting', attempt: 1, restarts: 0 },
    ],
    [
      'fails at once by a fault of the user, whoever ended before',
      { pods: pods({ 1: ends(rankLost, 9), 2: ends(userError, 1) }) },
      {
        actions: ['delete moby-worker-0 attempt 0', 'delete moby-worker-3 attempt 0'],
        state: 'Failed',
        attempt: 0,
        restarts: 0,
      },
    ],
    [
      'fails when no restarts are left, those of the agents counted',
      { job: four({ restarts: 3, inPlaceRestarts: 2 }), pods: pods({ 2: killed(1) }) },
      {
        actions: ['delete moby-worker-0 attempt 0', 'delete moby-worker-1 attempt 0', 'delete moby-worker-3 attempt 0'],
        state: 'Failed',
        attempt: 0,
        restarts: 3,
      },
    ],
    [
      'waits for the others when a rank has done its part',
      { pods: pods({ 1: ends(done, 20) }) },
      { actions: [], state: 'Running', attempt: 0, restarts: 0 },
    ],
    [
      'can not replace a pod when another has done its part',
      { pods: pods({ 0: killed(3), 1: ends(done, 4) }) },
      { actions: [], state: 'Restarting', attempt: 1, restarts: 1 },
    ],
    [
      'publishes when all have ended',
      { pods: pods({ 0: ends(done, 1, { words: lastWords() }), 1: ends(done, 1), 2: ends(done, 1), 3: ends(done, 1) }) },
      { actions: ['version moby-1'], state: 'Running', attempt: 0, restarts: 0 },
    ],
    [
      'waits for them before, however they end',
      { pods: pods({ 0: ends(done, 1, { words: lastWords() }), 1: killed(0) }) },
      { actions: [], state: 'Running', attempt: 0, restarts: 0, requeueAfterMs: 29_000 },
    ],
    [
      'waits no longer than their grace time',
      { pods: pods({ 0: ends(done, 30, { words: lastWords() }) }) },
      { actions: ['version moby-1'], state: 'Running', attempt: 0, restarts: 0 },
    ],
    [
      'makes no pod while another of the gang leaves',
      { job: four({ replacing: ['pod-0'] }), pods: pods({ 0: { deleting: true }, 2: 'missing' }) },
      { actions: [], state: 'Starting', attempt: 0, restarts: 0, requeueAfterMs: 60_000 },
    ],
  ];
  it.each(table)('%s', (_, seen, expected) => {
    expect(said(plan({ job: four(), service: seen.pods ? service : undefined, ...seen }))).toEqual(expected);
  });

  it('names the first cause, and never a pod that only followed', () => {
    const blamed = (states: Record<number, PodState | 'missing'>) => {
      const { lastFailure } = plan({ job: four(), service, pods: pods(states) }).status;
      return [lastFailure?.pod, lastFailure?.action, lastFailure?.rule].join(' ');
    };
    expect([
      blamed({ 0: ends(follow, 9), 1: ends(rankLost, 8), 2: killed(2), 3: killed(1) }),
      blamed({ 0: ends(follow, 9), 1: ends(rankLost, 8) }),
      blamed({ 2: ends(82, 4), 3: killed(5) }),
      blamed({ 0: ends(follow, 3), 1: ends(follow, 2), 2: ends(follow, 4), 3: ends(follow, 1) }),
      blamed({ 1: ends(follow, 3), 2: 'missing' }),
    ]).toEqual([
      'moby-worker-2 RestartGang Retryable',
      'moby-worker-1 RestartGang Retryable',
      'moby-worker-3 RestartPod Retryable',
      'moby-worker-2 RestartGang Retryable',
      'moby-worker-1 RestartGang Followed',
    ]);
  });

  it('keeps in mind which pods make room when another one dies', () => {
    const seen = {
      job: four({ restarts: 1, replacing: ['pod-0-2', 'gone'] }),
      service,
      pods: pods({ 1: killed(0), 2: killed(1) }),
    };
    expect(plan(seen).status.replacing).toEqual(['pod-0-2', 'pod-0-1']);
  });

  it('replaces the first lost pod at once and waits longer for each further one', () => {
    const waits = [0, 1, 2, 3].map((faultsInARow) => {
      const seen = { job: four({ faultsInARow }, { faults: { maxRestarts: 9 } }), service, pods: pods({ 2: killed(0) }) };
      const { nextRestartTime } = plan(seen).status;
      return nextRestartTime === undefined ? 0 : Date.parse(nextRestartTime) - now;
    });
    expect(waits).toEqual([0, 1000, 2000, 4000]);
  });

  it('gives the pods of an attempt one secret, and a replaced one the same', () => {
    const secrets = (seen: Partial<Observed>) =>
      plan({ job: four(), service, ...seen }).actions.flatMap((action) =>
        action.type === 'createPod' ? [action.pod.spec.containers[0]?.env?.find(({ name }) => name === 'WL_SECRET')?.value] : [],
      );
    expect(secrets({ pods: [] })).toEqual(['fresh', 'fresh', 'fresh', 'fresh']);
    expect(secrets({ pods: pods({ 1: 'missing', 2: 'missing' }) })).toEqual(['secret 0', 'secret 0']);
  });

  it('goes on with fewer pods only if it is elastic', () => {
    const three = pods({ 3: 'missing' });
    const inelastic = plan({ job: four(), service, pods: three });
    const elastic = plan({ job: four({}, { elastic: { minRanks: 2 } }), service, pods: three });
    expect([inelastic.status.state, elastic.status.state]).toEqual(['Starting', 'Running']);
    expect(elastic.status.conditions?.[0]?.message).toBe('3 of 4 pods are there; the job goes on with them');
  });

  it('takes over what the agents say of each rank, of a straggler and of faults they healed', () => {
    const report: ProgressReport = {
      uid: 'job-1',
      attempt: 0,
      rank: 0,
      pod: 'moby-worker-0',
      time: new Date(now).toISOString(),
      restarts: 1,
      progress: { step: 120, steps: 400 },
      epoch: 2,
      worldSize: 2,
      ranks: [{ rank: 1, pod: 'moby-worker-1', state: 'running', step: 120, phase: 'stepping', rssBytes: 5e8, stepMs: 210 }],
      straggler: 'rank 1 takes 2.1 times the median step',
      fault: {
        time: new Date(now - 7000).toISOString(),
        epoch: 1,
        rank: 2,
        pod: 'moby-worker-2',
        signal: 'SIGKILL',
        step: 117,
        operation: 'allReduce',
        site: 'block 3 gradient',
        message: 'rank 2 was ended by SIGKILL; restarted in place in 3.1 s',
      },
    };
    const taken = plan({ job: four(), service, pods: pods(), report });
    expect(taken.status).toMatchObject({
      restarts: 1,
      epoch: 2,
      world: 2,
      summary: { ranks: '2/4' },
      ranks: [{ rank: 1, pod: 'moby-worker-1', state: 'running', step: 120, phase: 'stepping', bytes: 5e8 }],
      straggler: 'rank 1 takes 2.1 times the median step',
      lastFailure: { rank: 2, signal: 9, action: 'RestartRank', operation: 'allReduce', site: 'block 3 gradient' },
    });
    expect(taken.events.map(({ reason }) => reason)).toEqual(['RestartedInPlace']);
    const later = { ...report, time: new Date(now + 1).toISOString() };
    const shown = { ...taken.status, progress: { ...taken.status.progress, time: isoTime(now - 10_000) } };
    expect(plan({ job: four(shown), service, pods: pods(), report: later }).events).toEqual([]);
    const lost = { ...taken.status.lastFailure!, time: isoTime(now - 8000), action: 'RestartPod' };
    const counted = plan({ job: four({ lastFailure: lost }), service, pods: pods(), report }).status;
    expect(counted.lastFailure?.action).toBe('RestartPod');
  });

  it('takes a fault that the agents healed over at once, though figures were taken over a moment ago', () => {
    const time = isoTime(now - 1000);
    const job = four({ state: 'Running', restarts: 0, progress: { step: 119, steps: 400, time } });
    const report: ProgressReport = {
      uid: 'job-1',
      attempt: 0,
      rank: 0,
      pod: 'moby-worker-0',
      time: new Date(now).toISOString(),
      restarts: 1,
      progress: { step: 120, steps: 400 },
      fault: {
        time: new Date(now).toISOString(),
        epoch: 0,
        rank: 2,
        pod: 'moby-worker-2',
        message: 'lost',
        rule: 'mine',
        charged: false,
      },
    };
    expect(newsDueIn(job, report, now)).toBe(0);
    const { status } = plan({ job, service, pods: pods(), report });
    expect(status.lastFailure).toMatchObject({
      pod: 'moby-worker-2',
      node: 'node-1',
      rule: 'mine',
      action: 'RestartRank',
      charged: false,
    });
    expect(newsDueIn({ ...job, status }, report, now)).toBe(10_000);
  });

  describe('counts restarts', () => {
    const report = (restarts: number, more: Partial<ProgressReport> = {}) => ({
      uid: 'job-1',
      attempt: 0,
      rank: 0,
      pod: 'moby-worker-0',
      time: new Date(now).toISOString(),
      restarts,
      progress: { step: 1, steps: 400 },
      ...more,
    });
    const counted = (status: Partial<TrainingJobStatus>, seen: ProgressReport) => {
      const { restarts, inPlaceRestarts } = plan({ job: four(status), service, pods: pods(), report: seen }).status;
      return [restarts, inPlaceRestarts];
    };

    it('of agents, also when the one that counts them was replaced', () => {
      const before = { restarts: 3, inPlaceRestarts: 2 };
      expect([counted(before, report(3)), counted(before, report(1))]).toEqual([
        [4, 3],
        [4, 1],
      ]);
    });

    it('after a lost pod once, though its agents and the operator both saw it', () => {
      const time = new Date(now - 2000).toISOString();
      const lastFailure = { time, attempt: 0, pod: 'moby-worker-2', action: 'RestartPod' };
      const fault = (pod: string) => ({ time: new Date(now - 2500).toISOString(), epoch: 0, pod, message: 'lost' });
      const before = { restarts: 2, inPlaceRestarts: 1, lastFailure };
      expect(counted(before, report(2, { fault: fault('moby-worker-2') }))).toEqual([2, 2]);
      expect(counted(before, report(2, { fault: fault('moby-worker-3') }))).toEqual([3, 2]);
    });

    it('that no status has taken over yet, when a pod is lost', () => {
      const lost = (seen: ProgressReport) => {
        const { restarts, inPlaceRestarts } = plan({ job: four(), service, pods: pods({ 2: killed(1) }), report: seen }).status;
        return [restarts, inPlaceRestarts];
      };
      const fault = { time: new Date(now - 500).toISOString(), epoch: 1, pod: 'moby-worker-2', message: 'lost' };
      expect([lost(report(1)), lost(report(2, { fault })), lost(report(2, { attempt: 1 }))]).toEqual([
        [2, 1],
        [2, 2],
        [1, 0],
      ]);
    });

    it('from 0 again when the pod that counts them is lost, and hears no older count', () => {
      const lost = plan({ job: four({ restarts: 2, inPlaceRestarts: 2 }), service, pods: pods({ 0: killed(0) }) }).status;
      expect([lost.restarts, lost.inPlaceRestarts]).toEqual([3, undefined]);
      expect(counted(lost, report(2, { time: new Date(now - 1).toISOString() }))).toEqual([3, undefined]);
    });
  });

  it('forgets ranks that run no more', () => {
    const status = { epoch: 3, straggler: 'x', ranks: [{ rank: 0 }] };
    const suspended = plan({ job: four(status, { suspend: true }), service, pods: pods() }).status;
    const failed = plan({ job: four(status), service, pods: pods({ 0: ends(userError, 1) }) }).status;
    for (const { epoch, straggler, ranks } of [suspended, failed])
      expect([epoch, straggler, ranks]).toEqual([undefined, undefined, undefined]);
    expect(conditions(plan({ job: four(), service, pods: pods() }))).toEqual({ Ready: 'True Running' });
  });
});

describe('the children of a gang', () => {
  it('are pods that know the rendezvous by the name of a headless Service', () => {
    const made = plan({ job: four({}, { elastic: { minRanks: 2 }, faults: { hangTimeoutSeconds: 90 } }) }).actions[2];
    if (made?.type !== 'createPod') throw new Error('no pod');
    expect(made.pod.spec).toMatchObject({ hostname: 'moby-worker-1', subdomain: 'moby-workers' });
    const env = Object.fromEntries(
      made.pod.spec.containers[0]!.env!.map(({ name, value, valueFrom }) => [name, value ?? valueFrom?.fieldRef.fieldPath]),
    );
    expect({ ...env, WL_JOB: '...' }).toMatchInlineSnapshot(`
      {
        "WL_ATTEMPT": "0",
        "WL_ELASTIC_MAX": "4",
        "WL_ELASTIC_MIN": "2",
        "WL_HANG_TIMEOUT_SECONDS": "90",
        "WL_JOB": "...",
        "WL_JOB_DIR": "/windlass/jobs/default/moby",
        "WL_MAX_RESTARTS": "3",
        "WL_MODELS_DIR": "/windlass/models/default",
        "WL_MODELS_URI": "pvc://windlass-models/default",
        "WL_NAME": "moby",
        "WL_NAMESPACE": "default",
        "WL_POD_IP": "status.podIP",
        "WL_POD_NAME": "moby-worker-1",
        "WL_RANK": "1",
        "WL_RENDEZVOUS": "moby-worker-0.moby-workers:29400",
        "WL_RENDEZVOUS_PORT": "29400",
        "WL_SECRET": "fresh",
        "WL_UID": "job-1",
        "WL_WORLD_SIZE": "4",
      }
    `);
    expect(service.spec).toMatchInlineSnapshot(`
      {
        "clusterIP": "None",
        "ports": [
          {
            "name": "rendezvous",
            "port": 29400,
            "targetPort": 29400,
          },
        ],
        "publishNotReadyAddresses": true,
        "selector": {
          "windlass.dev/job-uid": "job-1",
        },
        "type": "ClusterIP",
      }
    `);
  });
});
