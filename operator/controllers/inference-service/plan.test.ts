import { describe, expect, it } from 'vitest';
import type { InferenceService, InferenceServiceStatus, ModelVersion } from '#crds/v1alpha1/index.ts';
import { isoTime } from '#operator/kube/clock.ts';
import type { Pod, Service } from '#operator/kube/core.ts';
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
}

function pod(number: number, index: number, { ready = true, deleting, exit }: PodState = {}, of = service()): Pod {
  const target = targetFor(number);
  const made = servingPod(of, effective, target, revisionOf(of, effective, target), index);
  return {
    ...made,
    metadata: {
      ...made.metadata,
      uid: made.metadata.name,
      creationTimestamp: isoTime(now + number * 1000),
      ...(deleting ? { deletionTimestamp: isoTime(now) } : {}),
    },
    status: {
      phase: 'Running',
      conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }],
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

function plan(seen: Partial<Observed>): Plan {
  const urlOf = () => 'http://127.0.0.9:8080';
  return planInferenceService(
    {
      service: service(),
      pods: [],
      front,
      model: undefined,
      versions: [version(1)],
      runtime: undefined,
      builtin: { image: 'x' },
      urlOf,
      ...seen,
    },
    now,
  );
}

/** `+moby-1#0` makes the first pod of version 1, `-moby-1#0` removes it. */
function steps({ actions }: Plan): string {
  return actions
    .map((action) => {
      if (action.type === 'createFront' || action.type === 'updateFront') return action.type;
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
  const table: [string, Partial<Observed>, string][] = [
    ['first sight makes nothing', { service: service({}, {}) }, ''],
    ['then come the Service and the pods', { service: two, front: undefined }, 'createFront +moby-1#0 +moby-1#1'],
    ['all ready needs nothing', { service: two, pods: [pod(1, 0), pod(1, 1)] }, ''],
    ['a lost pod is made again', { service: two, pods: [pod(1, 1)] }, '+moby-1#0'],
    [
      'a pod that is going keeps its place until it is gone',
      { service: two, pods: [pod(1, 0), pod(1, 1, { deleting: true })] },
      '',
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
    ['fewer replicas remove the highest', { pods: [pod(1, 0), pod(1, 1), pod(1, 2)] }, '-moby-1#1 -moby-1#2'],
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
      `"moby-5f198491-0, exit code 64, WL_MODEL_INVALID: config.json lacks hidden_size. Publish again."`,
    );
  });

  it('makes pods of another revision for anything but the number of replicas', () => {
    const revision = (spec: object) => revisionOf(service(spec), effective, targetFor(1));
    expect(revision({ replicas: 5 })).toBe(revision({}));
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
          "value": "moby-688a94f1-0",
        },
        {
          "name": "WL_SERVICE",
          "value": "{"model":{"name":"moby"},"port":8080,"engine":{"maxSequences":16,"maxBatchedTokens":512,"blockSize":16},"drain":{"timeoutSeconds":30}}",
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
  it('of a path is the path', () => {
    const byPath = inferenceService('x', {}, { uri: 'file:///models/a' });
    expect(resolveTarget(byPath, undefined, [])).toEqual({
      target: { id: '/models/a', folder: '/models/a', claimName: undefined, digest: undefined, servedName: 'x' },
    });
  });

  it('of a model is its highest number, not its newest object', () => {
    const found = resolveTarget(service(), undefined, [version(2), version(10), version(9)]);
    expect(found).toMatchObject({ target: { id: 'moby-10', servedName: 'moby' } });
  });
});
