import { describe, expect, it } from 'vitest';
import type { InferenceService, InferenceServiceStatus, ModelVersion } from '#crds/v1alpha1/index.ts';
import { isoTime } from '#operator/kube/clock.ts';
import type { Pod, PodDisruptionBudget, Service } from '#operator/kube/core.ts';
import type { TerminationMessage } from '#runtime/api/messages.ts';
import { effectiveOf } from '../effective.ts';
import { inferenceService } from '../fixtures.ts';
import { planInferenceService } from './plan.ts';
import type { Observed, Plan } from './plan.ts';
import { frontService, revisionOf, servingPod } from './pods.ts';
import { resolveTarget } from './target.ts';
import type { Target } from './target.ts';

const now = Date.UTC(2026, 0, 1, 12);
const effective = effectiveOf(undefined, { image: 'windlass:1' });
const digest = (letter: string) => `sha256:${letter.repeat(64)}`;

function service(spec: object = {}, status: Partial<InferenceServiceStatus> = { effective }): InferenceService {
  const parsed = inferenceService('moby', spec);
  return { ...parsed, metadata: { ...parsed.metadata, uid: 'svc-1', generation: 1 }, status };
}

function version(number: number): ModelVersion {
  const spec = { model: 'moby', number, uri: `pvc://models/default/moby/${number}`, digest: digest(String(number)) };
  return { kind: 'ModelVersion', metadata: { name: `moby-${number}` }, spec } as ModelVersion;
}

function targetFor(number: number): Target {
  const found = resolveTarget(service(), undefined, [version(number)]);
  if (!('target' in found)) throw new Error('no target');
  return found.target;
}

interface PodState {
  ready?: boolean;
  deleting?: boolean;
  exit?: { exitCode: number; words: TerminationMessage };
  node?: string;
  /** Why the scheduler finds no place. */
  pending?: string;
  cost?: number;
}

function pod(
  number: number,
  index: number,
  { ready = true, deleting, exit, node, pending, cost }: PodState = {},
  of = service(),
): Pod {
  const target = targetFor(number);
  const made = servingPod(of, effective, target, revisionOf(of, effective, target), index);
  return {
    ...made,
    metadata: {
      ...made.metadata,
      uid: made.metadata.name,
      creationTimestamp: isoTime(now + number * 1000),
      ...(deleting ? { deletionTimestamp: isoTime(now) } : {}),
      annotations: {
        ...made.metadata.annotations,
        ...(cost === undefined ? {} : { 'controller.kubernetes.io/pod-deletion-cost': String(cost) }),
      },
    },
    spec: { ...made.spec, ...(node === undefined ? {} : { nodeName: node }) },
    status: {
      phase: 'Running',
      conditions: [
        { type: 'Ready', status: ready ? 'True' : 'False' },
        ...(pending === undefined
          ? []
          : [{ type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: pending } as const]),
      ],
      containerStatuses: [
        {
          name: 'engine',
          ready,
          restartCount: exit ? 1 : 0,
          ...(exit
            ? {
                state: { waiting: { reason: 'CrashLoopBackOff' } },
                lastState: { terminated: { exitCode: exit.exitCode, message: JSON.stringify(exit.words) } },
              }
            : {}),
        },
      ],
    },
  };
}

const front: Service = frontService(service());
/** Somebody else's, which is left alone. */
const budget = { metadata: { name: 'moby' }, spec: {} } as PodDisruptionBudget;

const observed: Observed = {
  service: service(),
  pods: [],
  front,
  model: undefined,
  versions: [version(1)],
  runtime: undefined,
  builtin: { image: 'x' },
  urlOf: () => 'http://127.0.0.9:8080',
  startups: [],
  budget,
  cordoned: new Set(),
};

const plan = (seen: Partial<Observed>): Plan => planInferenceService({ ...observed, ...seen }, now);

/** `+moby-1#0` makes the first pod of version 1, `-moby-1#0` removes it. */
function steps({ actions }: Plan): string {
  return actions
    .map((action) => {
      if (!('pod' in action)) return action.type;
      const { name, annotations } = action.pod.metadata;
      return `${action.type === 'createPod' ? '+' : '-'}${annotations?.['windlass.dev/served']}#${name.slice(-1)}`;
    })
    .join(' ');
}

const conditions = ({ status }: Plan) =>
  Object.fromEntries((status.conditions ?? []).map(({ type, status, reason }) => [type, `${status} ${reason}`]));

describe('the plan of an InferenceService', () => {
  const two = service({ replicas: 2 });
  const both = [version(1), version(2)];
  const notReady = { ready: false };
  const noRoom = { ready: false, pending: '0/2 nodes are available' };
  const drainFirst = service({ replicas: 2, rollout: { strategy: 'DrainFirst' } });
  const onOne = { node: 'node-1' };
  const cordoned = new Set(['node-1']);
  const table: [string, Partial<Observed>, string][] = [
    ['first sight makes nothing', { service: service({}, {}) }, ''],
    ['then come the Service and the pods', { service: two, front: undefined }, 'createFront +moby-1#0 +moby-1#1'],
    ['all ready needs nothing', { service: two, pods: [pod(1, 0), pod(1, 1)] }, ''],
    ['a lost pod is made again', { service: two, pods: [pod(1, 1)] }, '+moby-1#0'],
    [
      'a pod that is going is replaced at once, under another name',
      { service: two, pods: [pod(1, 0), pod(1, 1, { deleting: true })] },
      '+moby-1#2',
    ],
    [
      'a new version comes up before the old one goes',
      { service: two, versions: both, pods: [pod(1, 0), pod(1, 1)] },
      '+moby-2#0 +moby-2#1',
    ],
    [
      'old pods stay while new ones are not ready',
      { service: two, versions: both, pods: [pod(1, 0), pod(1, 1), pod(2, 0, notReady), pod(2, 1, notReady)] },
      '',
    ],
    [
      'each new pod that is ready releases an old one',
      { service: two, versions: both, pods: [pod(1, 0), pod(1, 1), pod(2, 0), pod(2, 1, notReady)] },
      '-moby-1#1',
    ],
    ['the last old pod goes last', { service: two, versions: both, pods: [pod(1, 0), pod(2, 0), pod(2, 1)] }, '-moby-1#0'],
    ['old pods that do not answer go at once', { versions: both, pods: [pod(1, 0, notReady)] }, '+moby-2#0 -moby-1#0'],
    ['fewer replicas remove the highest', { pods: [pod(1, 0), pod(1, 1), pod(1, 2)] }, '-moby-1#2 -moby-1#1'],
    ['fewer replicas remove first what does not answer', { pods: [pod(1, 0, notReady), pod(1, 1)] }, '-moby-1#0'],
    ['fewer replicas remove first what is cheap to end', { pods: [pod(1, 0, { cost: -1 }), pod(1, 1)] }, '-moby-1#0'],
    ['back to the version before, what still answers is enough', { pods: [pod(1, 0), pod(2, 0, notReady)] }, '-moby-2#0'],
    [
      'drain-first ends one old pod before it makes a new one',
      { service: drainFirst, versions: both, pods: [pod(1, 0), pod(1, 1)] },
      '-moby-1#1',
    ],
    [
      'drain-first ends an old pod for those that have found no room, as after a try with surge',
      { service: drainFirst, versions: both, pods: [pod(1, 0), pod(1, 1), pod(2, 0, noRoom), pod(2, 1, noRoom)] },
      '-moby-1#1',
    ],
    [
      'drain-first then waits until one of those has taken the room',
      { service: drainFirst, versions: both, pods: [pod(1, 0), pod(2, 0, noRoom), pod(2, 1, noRoom)] },
      '',
    ],
    [
      'drain-first waits until that one answers',
      { service: drainFirst, versions: both, pods: [pod(1, 0), pod(2, 0, notReady), pod(2, 1, noRoom)] },
      '',
    ],
    [
      'drain-first then ends the next old one',
      { service: drainFirst, versions: both, pods: [pod(1, 0), pod(2, 0), pod(2, 1, noRoom)] },
      '-moby-1#0',
    ],
    [
      'drain-first waits until that one is gone',
      { service: drainFirst, versions: both, pods: [pod(1, 0), pod(1, 1, { deleting: true })] },
      '',
    ],
    ['drain-first then makes the new one', { service: drainFirst, versions: both, pods: [pod(1, 0)] }, '+moby-2#0'],
    [
      'drain-first ends no further pod while the new one is not ready',
      { service: drainFirst, versions: both, pods: [pod(1, 0), pod(2, 0, notReady)] },
      '',
    ],
    ['drain-first goes on when it is', { service: drainFirst, versions: both, pods: [pod(1, 0), pod(2, 0)] }, '-moby-1#0'],
    [
      'drain-first ends no old pod that answers where one that does not makes the room',
      { service: drainFirst, versions: both, pods: [pod(1, 0), pod(1, 1, notReady)] },
      '-moby-1#1',
    ],
    ['drain-first makes all pods of a new service at once', { service: drainFirst }, '+moby-1#0 +moby-1#1'],
    ['a pod on a cordoned node is replaced before it goes', { pods: [pod(1, 0, onOne)], cordoned }, '+moby-1#1'],
    ['drain-first leaves a pod on a cordoned node', { service: drainFirst, pods: [pod(1, 0, onOne), pod(1, 1)], cordoned }, ''],
    [
      'a pod on a cordoned node stays while the other is not ready',
      { pods: [pod(1, 0, onOne), pod(1, 1, notReady)], cordoned },
      '',
    ],
    [
      'a pod on a cordoned node goes when the other is ready',
      { pods: [pod(1, 0, onOne), pod(1, 1, { node: 'node-2' })], cordoned },
      '-moby-1#0',
    ],
    [
      'of two old pods the one on a cordoned node goes first',
      { service: two, versions: both, pods: [pod(1, 0, onOne), pod(1, 1), pod(2, 0), pod(2, 1, notReady)], cordoned },
      '-moby-1#0',
    ],
    ['no replicas remove all', { service: service({ replicas: 0 }), pods: [pod(1, 0)] }, '-moby-1#0'],
    ['without a version nothing is made', { versions: [] }, ''],
    ['without a version what serves goes on', { versions: [], pods: [pod(1, 0)] }, ''],
    [
      'a foreign Service of the name is left alone',
      { front: { ...front, metadata: { ...front.metadata, ownerReferences: [] } } },
      '',
    ],
  ];
  it.each(table)('%s', (_, seen, expected) => {
    expect(steps(plan(seen))).toBe(expected);
  });

  it('says what it waits for', () => {
    const waiting = plan({ versions: [] });
    expect(conditions(waiting)).toEqual({ Ready: 'False ModelNotReady', Reconciling: 'True ModelNotReady' });
    expect(waiting.status.conditions?.[0]?.message).toMatchInlineSnapshot(
      `"Model moby does not exist yet; it is served as soon as a TrainingJob with output.model: moby has published one"`,
    );
  });

  it('stays Ready through a roll, and reports what answers', () => {
    const rolling = plan({ versions: [version(1), version(2)], pods: [pod(1, 0), pod(2, 0, { ready: false })] });
    expect(conditions(rolling)).toEqual({ Ready: 'True PodsStarting', Reconciling: 'True PodsStarting' });
    expect(rolling.status).toMatchObject({
      readyReplicas: 1,
      replicas: 2,
      model: { active: 'moby-1', target: 'moby-2', state: 'Loading' },
    });
    const rolled = plan({ versions: [version(1), version(2)], pods: [pod(2, 0)] });
    expect(conditions(rolled)).toEqual({ Ready: 'True Serving' });
    expect(rolled.status.model).toMatchObject({ active: 'moby-2', state: 'Serving' });
  });

  it('keeps the old version when the new one does not start, and says why', () => {
    const words = { code: 'WL_MODEL_INVALID', message: 'config.json lacks hidden_size', remedy: 'Publish again.' };
    const seen = {
      versions: [version(1), version(2)],
      pods: [pod(1, 0), pod(2, 0, { ready: false, exit: { exitCode: 64, words } })],
    };
    const stuck = plan(seen);
    expect(steps(stuck)).toBe('');
    expect(conditions(stuck)).toEqual({ Ready: 'True EngineFailed', Stalled: 'True EngineFailed' });
    expect(stuck.status.model).toMatchObject({
      active: 'moby-1',
      target: 'moby-2',
      state: 'Failed',
      lastFailure: { code: 'WL_MODEL_INVALID' },
    });
    expect(stuck.status.conditions?.[0]?.message).toMatchInlineSnapshot(
      `"moby-334ffff8-0, exit code 64, WL_MODEL_INVALID: config.json lacks hidden_size. Publish again."`,
    );
  });

  it('names a new pod for which there is no room, and what to do', () => {
    const seen = { versions: both, pods: [pod(1, 0), pod(2, 0, { ready: false, pending: '0/1 nodes are available' })] };
    const { status } = plan(seen);
    expect(conditions({ status } as Plan)).toEqual({ Ready: 'True Unschedulable', Reconciling: 'True Unschedulable' });
    expect(status.conditions?.[0]?.message).toMatchInlineSnapshot(
      `"pod moby-334ffff8-0: 0/1 nodes are available. Add a node, or set spec.rollout.strategy to DrainFirst: old pods then end before new ones start."`,
    );
  });

  it('counts the time without progress from the last pod that became ready, and names what is stuck', () => {
    const settings = { replicas: 2, rollout: { progressDeadlineSeconds: 60 } };
    const begun = plan({ service: service(settings) });
    expect([begun.againAfterMs, begun.status.rollout]).toEqual([
      60_000,
      { revision: expect.any(String), replicas: 2, readyReplicas: 0, madeReplicas: 2, progressTime: isoTime(now) },
    ]);
    const later = (seconds: number, status: InferenceServiceStatus, pods: Pod[]) =>
      planInferenceService({ ...observed, service: service(settings, status), pods }, now + seconds * 1000);
    const half = later(50, begun.status, [pod(1, 0), pod(1, 1, notReady)]);
    expect([half.againAfterMs, half.status.rollout?.progressTime]).toEqual([60_000, isoTime(now + 50_000)]);
    const waiting = later(109, half.status, [pod(1, 0), pod(1, 1, notReady)]);
    expect([waiting.againAfterMs, conditions(waiting)]).toEqual([
      1000,
      { Ready: 'True PodsStarting', Reconciling: 'True PodsStarting' },
    ]);
    const stuck = later(110, half.status, [pod(1, 0), pod(1, 1, notReady)]);
    expect([stuck.againAfterMs, conditions(stuck)]).toEqual([
      undefined,
      { Ready: 'True PodsStarting', Stalled: 'True ProgressDeadlineExceeded' },
    ]);
    expect(stuck.status.conditions?.find(({ type }) => type === 'Stalled')?.message).toMatchInlineSnapshot(
      `"no further pod of moby-1 became ready in 60 s (spec.rollout.progressDeadlineSeconds); 1 pods answer; those of moby-1 are starting"`,
    );
    const done = later(200, stuck.status, [pod(1, 0), pod(1, 1)]);
    expect([done.againAfterMs, conditions(done)]).toEqual([undefined, { Ready: 'True Serving' }]);
    // What is lost long afterwards has all of the time again.
    expect(later(900, done.status, [pod(1, 0)]).againAfterMs).toBe(60_000);
  });

  it('tells how far pods of the target are, looks again while they start, and forgets it when they answer', () => {
    const starting = pod(2, 0, notReady);
    const running = { name: 'engine', ready: false, restartCount: 0, state: { running: {} } };
    starting.status = { ...starting.status, podIP: '10.0.0.7', containerStatuses: [running] };
    const told = { phase: 'fetching', bytes: 50, totalBytes: 200, bytesPerSecond: 5, etaSeconds: 30 } as const;
    const startups = [starting, pod(1, 0)].map(({ metadata }) => ({ pod: metadata.name, ...told }));
    const loading = plan({ versions: both, pods: [pod(1, 0), starting], startups });
    expect(loading.status.model?.startups).toEqual([{ pod: starting.metadata.name, ...told }]);
    expect(loading.againAfterMs).toBe(10_000);
    expect(plan({ versions: both, pods: [pod(1, 0), starting] }).againAfterMs).toBe(2000);
    const service2 = service({}, { effective, model: loading.status.model });
    expect(plan({ service: service2, versions: both, pods: [pod(2, 0)] }).status.model).not.toHaveProperty('startups');
  });

  it('keeps models on nodes where the runtime names a claim for them', () => {
    const kept = { ...effective, cacheClaim: 'models-here', cacheBytes: 5_000_000_000 };
    const target = targetFor(1);
    const { spec } = servingPod(service(), kept, target, 'r', 0);
    expect(spec.containers[0]?.env?.filter(({ name }) => name.startsWith('WL_MODEL_CACHE'))).toEqual([
      { name: 'WL_MODEL_CACHE', value: '/windlass/cache' },
      { name: 'WL_MODEL_CACHE_BYTES', value: '5000000000' },
    ]);
    expect(spec.containers[0]?.volumeMounts).toContainEqual({ name: 'cache', mountPath: '/windlass/cache' });
    expect(spec.volumes).toContainEqual({ name: 'cache', persistentVolumeClaim: { claimName: 'models-here' } });
    const withoutDigest = servingPod(service(), kept, { ...target, digest: undefined }, 'r', 0);
    expect(withoutDigest.spec.volumes).not.toContainEqual(expect.objectContaining({ name: 'cache' }));
  });

  it('asks for a budget that leaves all but one, or the only one', () => {
    const wanted = (spec: object) =>
      plan({ service: service(spec), budget: undefined }).actions.flatMap((action) =>
        action.type === 'createBudget' ? action.budget.spec.minAvailable : [],
      );
    expect([0, 1, 2, 5].flatMap((replicas) => wanted({ replicas }))).toEqual([0, 1, 1, 4]);
    expect(wanted({ replicas: 1, rollout: { strategy: 'DrainFirst' } })).toEqual([0]);
    const [made] = plan({ budget: undefined }).actions.flatMap((action) => (action.type === 'createBudget' ? action.budget : []));
    const scaled = plan({ service: service({ replicas: 3 }), budget: made!, pods: [] }).actions;
    expect(scaled).toContainEqual({ type: 'updateBudget', budget: { ...made, spec: { ...made!.spec, minAvailable: 2 } } });
    expect(steps(plan({ budget: made!, pods: [pod(1, 0)] }))).toBe('');
  });

  it('tells the state of the model in the words of KServe', () => {
    const words = { code: 'WL_MODEL_CORRUPT', message: 'digest' };
    const failing = pod(2, 0, { ready: false, exit: { exitCode: 82, words } });
    const told = (seen: Partial<Observed>) => {
      const { transitionStatus, states, copies, lastFailure } = plan(seen).status.model!;
      return [transitionStatus, states?.activeModelState, states?.targetModelState, copies, lastFailure?.reason];
    };
    const none = { totalCopies: 0, failedCopies: 0 };
    expect(told({ versions: [] })).toEqual(['InProgress', undefined, 'Pending', none, undefined]);
    expect(told({})).toEqual(['InProgress', undefined, 'Loading', none, undefined]);
    expect(told({ pods: [pod(1, 0)] })).toEqual(['UpToDate', 'Loaded', 'Loaded', { ...none, totalCopies: 1 }, undefined]);
    expect(told({ versions: both, pods: [pod(1, 0), pod(2, 0, notReady)] })).toEqual([
      'InProgress',
      'Loaded',
      'Loading',
      none,
      undefined,
    ]);
    expect(told({ versions: both, pods: [pod(1, 0), failing] })).toEqual([
      'BlockedByFailedLoad',
      'Loaded',
      'FailedToLoad',
      { ...none, failedCopies: 1 },
      'ModelLoadFailed',
    ]);
  });

  it.each([
    [64, 'WL_MANIFEST_INVALID', 'InvalidSpec'],
    [64, 'WL_MODEL_INVALID', 'ModelLoadFailed'],
    [82, 'WL_MODEL_CORRUPT', 'ModelLoadFailed'],
    [75, 'WL_PORT_TAKEN', 'RuntimeUnhealthy'],
    [86, 'WL_DEVICE_LOST', 'RuntimeUnhealthy'],
    [137, undefined, 'RuntimeUnhealthy'],
    [64, undefined, 'ModelLoadFailed'],
  ])('calls an engine that ended with %d and %s %s', (exitCode, code, reason) => {
    const exit = { exitCode, words: code === undefined ? {} : { code, message: 'x' } };
    expect(plan({ pods: [pod(1, 0, { ready: false, exit })] }).status.model?.lastFailure?.reason).toBe(reason);
  });

  it('makes pods of another revision for anything but the number of replicas and how they are replaced', () => {
    const revision = (spec: object) => revisionOf(service(spec), effective, targetFor(1));
    expect(revision({ replicas: 5, rollout: { strategy: 'DrainFirst' } })).toBe(revision({}));
    const others = [
      { port: 9000 },
      { engine: { blockSize: 32 } },
      { drain: { timeoutSeconds: 1 } },
      { podTemplate: { labels: { a: 'b' } } },
    ];
    expect(new Set([{}, ...others].map(revision)).size).toBe(5);
  });

  it('gives the pod the serving contract', () => {
    const made = pod(1, 0);
    expect(made.spec.containers[0]?.env).toMatchInlineSnapshot(`
      [
        {
          "name": "WL_NAMESPACE",
          "value": "default",
        },
        {
          "name": "WL_NAME",
          "value": "moby",
        },
        {
          "name": "WL_POD_NAME",
          "value": "moby-bf846b05-0",
        },
        {
          "name": "WL_SERVICE",
          "value": "{"model":{"name":"moby"},"port":8080,"engine":{"maxSequences":16,"maxBatchedTokens":512,"blockSize":16},"drain":{"delaySeconds":5,"timeoutSeconds":30}}",
        },
        {
          "name": "WL_MODEL_DIR",
          "value": "/windlass/models/default/moby/1",
        },
        {
          "name": "WL_MODEL_NAME",
          "value": "moby",
        },
        {
          "name": "WL_PORT",
          "value": "8080",
        },
        {
          "name": "WL_MODEL_DIGEST",
          "value": "1111111111111111111111111111111111111111111111111111111111111111",
        },
        {
          "name": "WL_POD_IP",
          "valueFrom": {
            "fieldRef": {
              "fieldPath": "status.podIP",
            },
          },
        },
      ]
    `);
    expect(made.spec.volumes).toEqual([
      { name: 'models', persistentVolumeClaim: { claimName: 'models' } },
      { name: 'tmp', emptyDir: {} },
    ]);
  });
});

describe('the target', () => {
  it('of a job is what it published last, or stays with the first', () => {
    const published = (number: number, job: string): ModelVersion => ({
      ...version(number),
      metadata: { name: `moby-${number}`, creationTimestamp: isoTime(now + number) },
      spec: { ...version(number).spec, source: { job, uid: `uid-${number}`, step: 1 } },
    });
    const versions = [published(1, 'nightly'), published(2, 'other'), published(3, 'nightly')];
    const from = (fromTrainingJob: object, status: Partial<InferenceServiceStatus> = {}) => {
      const found = resolveTarget({ ...inferenceService('x', {}, { fromTrainingJob }), status }, undefined, versions);
      return 'target' in found ? [found.target.id, found.target.servedName] : found.waitsFor.message;
    };
    expect(from({ name: 'nightly' })).toEqual(['moby-3', 'moby']);
    expect(from({ name: 'nightly', follow: false })).toEqual(['moby-3', 'moby']);
    const model = { state: 'Serving', pinned: 'moby-1' } as const;
    expect(from({ name: 'nightly', follow: false }, { model })).toEqual(['moby-1', 'moby']);
    expect(from({ name: 'nightly' }, { model })).toEqual(['moby-3', 'moby']);
    expect(from({ name: 'none' })).toMatchInlineSnapshot(
      `"TrainingJob none has published no version yet; it is served as soon as the job has, which needs output.model"`,
    );
  });

  it('of a version answers to the name of its model too, which is no reason to replace a pod', () => {
    const found = resolveTarget(service({ model: { version: 'moby-1' } }), undefined, [version(1)]);
    if (!('target' in found)) throw new Error('no target');
    const { target } = found;
    const env = servingPod(service(), effective, target, 'r', 0).spec.containers[0]!.env!;
    expect(env.filter(({ name }) => /^WL_MODEL_(NAME|ALIAS)$/.test(name))).toEqual([
      { name: 'WL_MODEL_NAME', value: 'moby-1' },
      { name: 'WL_MODEL_ALIAS', value: 'moby' },
    ]);
    const { alias: _, ...without } = target;
    expect(revisionOf(service(), effective, target)).toBe(revisionOf(service(), effective, without));
  });

  it('that stays is kept in the status as soon as it is resolved', () => {
    const of = service({ model: { fromTrainingJob: { name: 'nightly', follow: false } } });
    const spec = { ...version(1).spec, source: { job: 'nightly', uid: 'u', step: 1 } };
    expect(plan({ service: of, versions: [{ ...version(1), spec }] }).status.model?.pinned).toBe('moby-1');
  });

  it('of a path is the path', () => {
    const byPath = inferenceService('x', {}, { uri: 'file:///models/a' });
    expect(resolveTarget(byPath, undefined, [])).toEqual({
      target: { id: '/models/a', folder: '/models/a', claimName: undefined, digest: undefined, servedName: 'x' },
    });
  });

  it('gives what lies on a server to pods by address, digest and Secret, and keeps it on a claim or in the pod', () => {
    const uri = 'https://models.example/moby/?sig=abc';
    const remote = inferenceService('moby', {}, { uri, digest: digest('a'), secretRef: { name: 'models' } });
    const byUri = resolveTarget(remote, undefined, []);
    const spec = { ...version(3).spec, uri, secretRef: { name: 'models' } };
    const byVersion = resolveTarget(service(), undefined, [{ ...version(3), spec }]);
    if (!('target' in byUri && 'target' in byVersion)) throw new Error('no target');
    expect([byUri.target.id, byVersion.target.id]).toEqual(['https://models.example/moby/', 'moby-3']);
    for (const [target, letter] of [[byUri.target, 'a'] as const, [byVersion.target, '3'] as const]) {
      const made = servingPod(service(), effective, target, 'r', 0).spec;
      const env = Object.fromEntries(made.containers[0]!.env!.map(({ name, value }) => [name, value]));
      expect(env).toMatchObject({
        WL_MODEL_URI: uri,
        WL_MODEL_DIGEST: letter.repeat(64),
        WL_MODEL_CACHE: '/windlass/cache',
        WL_MODEL_SECRET_DIR: '/var/run/secrets/windlass-model',
      });
      expect(env).not.toHaveProperty('WL_MODEL_DIR');
      expect(made.volumes).toEqual([
        {
          name: 'model-secret',
          secret: {
            secretName: 'models',
            optional: true,
            defaultMode: 0o440,
            items: ['bearerToken', 'username', 'password', 'ca.crt'].map((key) => ({ key, path: key })),
          },
        },
        { name: 'cache', emptyDir: {} },
        { name: 'tmp', emptyDir: {} },
      ]);
      const kept = servingPod(service(), { ...effective, cacheClaim: 'models-of-nodes' }, target, 'r', 0).spec;
      expect(kept.volumes?.[0]).toEqual({ name: 'cache', persistentVolumeClaim: { claimName: 'models-of-nodes' } });
    }
  });

  it('of a model is its highest number, not its newest object', () => {
    const found = resolveTarget(service(), undefined, [version(2), version(10), version(9)]);
    expect(found).toMatchObject({ target: { id: 'moby-10', servedName: 'moby' } });
  });
});
