// InferenceServices, Models and ModelVersions in every state that their controllers bring them to, with what others shall make of each.
import type { InferenceService, Model, ModelVersion } from '#crds/v1alpha1/index.ts';
import { effectiveOf } from '#operator/controllers/effective.ts';
import { inferenceService } from '#operator/controllers/fixtures.ts';
import { planInferenceService } from '#operator/controllers/inference-service/plan.ts';
import type { Observed } from '#operator/controllers/inference-service/plan.ts';
import { frontService, revisionOf, servingPod } from '#operator/controllers/inference-service/pods.ts';
import { resolveTarget } from '#operator/controllers/inference-service/target.ts';
import { modelStatus, versionStatus } from '#operator/controllers/model/reconcile.ts';
import { isoTime } from '#operator/kube/clock.ts';
import type { Pod } from '#operator/kube/core.ts';
import type { Told } from './told.ts';
import { changed, leaving, refused, unobserved } from './told.ts';

const now = Date.UTC(2026, 0, 1, 12);
const builtin = { image: 'windlass:1' };
const effective = effectiveOf(undefined, builtin);

function created(spec: object = {}, model?: object): InferenceService {
  const parsed = inferenceService('moby', spec, model);
  return unobserved({ ...parsed, metadata: { ...parsed.metadata, uid: 'svc-1', generation: 1 } });
}

function version(number: number): ModelVersion {
  const spec = {
    model: 'moby',
    number,
    uri: `pvc://models/default/moby/${number}`,
    digest: `sha256:${'a'.repeat(64)}`,
    bytes: 9,
  };
  const metadata = { name: `moby-${number}`, namespace: 'default', uid: `version-${number}`, generation: 1 };
  return { apiVersion: 'windlass.dev/v1alpha1', kind: 'ModelVersion', metadata, spec } as ModelVersion;
}

/** A container that ended, and waits to be started again. */
interface Crash {
  exitCode: number;
  words?: object;
}

function pod(number: number, index: number, state: 'ready' | 'starting' | Crash, of = created()): Pod {
  const found = resolveTarget(of, undefined, [version(number)]);
  if (!('target' in found)) throw new Error('there is no target');
  const made = servingPod(of, effective, found.target, revisionOf(of, effective, found.target), index);
  const ready = state === 'ready';
  const ended = typeof state === 'object' ? { exitCode: state.exitCode, message: JSON.stringify(state.words ?? {}) } : undefined;
  return {
    ...made,
    metadata: { ...made.metadata, uid: made.metadata.name, creationTimestamp: isoTime(now + number * 1000) },
    status: {
      phase: 'Running',
      conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }],
      containerStatuses: [
        {
          name: 'engine',
          ready,
          restartCount: ended ? 1 : 0,
          ...(ended ? { state: { waiting: { reason: 'CrashLoopBackOff' } }, lastState: { terminated: ended } } : {}),
        },
      ],
    },
  };
}

const unschedulable = (): Pod => ({
  ...pod(1, 0, 'starting'),
  status: { phase: 'Pending', conditions: [{ type: 'PodScheduled', status: 'False', reason: 'Unschedulable' }] },
});

/** The service after the operator has seen each of these in turn. */
function lived(first: InferenceService, ...observations: Partial<Observed>[]): InferenceService {
  const nothing = {
    pods: [],
    budget: undefined,
    cordoned: new Set<string>(),
    startups: [],
    model: undefined,
    versions: [],
    runtime: undefined,
    builtin,
    urlOf: () => 'http://moby',
  };
  const planned = (before: InferenceService, seen: Partial<Observed>): InferenceService => ({
    ...before,
    status: planInferenceService({ service: before, front: frontService(before), ...nothing, ...seen }, now).status,
  });
  return [{}, ...observations].reduce(planned, first);
}

const one = { versions: [version(1)] };
const both = { versions: [version(1), version(2)] };
const serving = { ...one, pods: [pod(1, 0, 'ready')] };
const two = created({ replicas: 2 });
const withSpec = (before: InferenceService, spec: Partial<InferenceService['spec']>): InferenceService =>
  changed({ ...before, spec: { ...before.spec, ...spec } });
const foreign = { ...frontService(created()), metadata: { name: 'moby', namespace: 'default' } };
const runtimeRef = { name: 'gpu', kind: 'ClusterTrainingRuntime' };

export function services(): Told[] {
  const progress = ['InProgress', 'Progressing'] as const;
  const healthy = ['Current', 'Healthy'] as const;
  const degraded = ['Failed', 'Degraded'] as const;
  const states: [string, InferenceService, readonly [Told['kstatus'], Told['argo']]][] = [
    ['just created', created(), progress],
    ['seen for the first time', lived(created()), progress],
    ['waiting for a runtime that does not exist', lived(created({ runtimeRef })), progress],
    ['waiting for a model that does not exist', lived(created(), {}), progress],
    ['waiting for a version that does not exist', lived(created({}, { version: 'moby-7' }), {}), progress],
    ['of a name that another Service has', lived(created(), { front: foreign }), degraded],
    ['of a name that another Service had', lived(created(), { front: foreign }, serving), healthy],
    ['without pods yet', lived(created(), one), progress],
    ['starting', lived(created(), { ...one, pods: [pod(1, 0, 'starting')] }), progress],
    ['starting, with a pod that no node takes', lived(created(), { ...one, pods: [unschedulable()] }), progress],
    ['starting, with one of two pods ready', lived(two, { ...one, pods: [pod(1, 0, 'ready', two)] }), progress],
    ['serving', lived(created(), serving), healthy],
    ['scaled to zero', lived(created({ replicas: 0 }), one), healthy],
    ['scaled up, and not seen since', withSpec(lived(created(), serving), { replicas: 2 }), progress],
    ['scaled up', lived(withSpec(lived(created(), serving), { replicas: 2 }), serving), progress],
    [
      'scaled up, with both pods ready',
      lived(withSpec(lived(created(), serving), { replicas: 2 }), {
        ...one,
        pods: [pod(1, 0, 'ready', two), pod(1, 1, 'ready', two)],
      }),
      healthy,
    ],
    ['rolling to the next version', lived(created(), serving, { ...serving, ...both }), progress],
    [
      'rolling, with the new pod starting',
      lived(created(), serving, { ...both, pods: [pod(1, 0, 'ready'), pod(2, 0, 'starting')] }),
      progress,
    ],
    ['rolled to the next version', lived(created(), serving, { ...both, pods: [pod(2, 0, 'ready')] }), healthy],
    [
      'whose next version fails by itself, while the old one serves',
      lived(created(), serving, { ...both, pods: [pod(1, 0, 'ready'), pod(2, 0, { exitCode: 64 })] }),
      degraded,
    ],
    [
      'whose next version crashes, while the old one serves',
      lived(created(), serving, { ...both, pods: [pod(1, 0, 'ready'), pod(2, 0, { exitCode: 137 })] }),
      progress,
    ],
    [
      'whose model can not be loaded',
      lived(created(), {
        ...one,
        pods: [pod(1, 0, { exitCode: 64, words: { code: 'WL_MODEL_UNSUPPORTED', message: 'unknown architecture' } })],
      }),
      degraded,
    ],
    ['whose engine crashes', lived(created(), { ...one, pods: [pod(1, 0, { exitCode: 137 })] }), progress],
    ['that serves again after a crash', lived(created(), { ...one, pods: [pod(1, 0, { exitCode: 64 })] }, serving), healthy],
    ['that lost its pod', lived(created(), serving, one), progress],
    ['whose model went, while it serves', lived(created(), serving, { pods: serving.pods }), progress],
    ['with a pod that the API refuses', refused(lived(created(), one)), degraded],
    ['being deleted', leaving(lived(created(), serving)), ['Terminating', 'Progressing']],
  ];
  return states.map(([name, object, [kstatus, argo]]) => ({ name: `an InferenceService ${name}`, object, kstatus, argo }));
}

export function models(): Told[] {
  const metadata = { name: 'moby', namespace: 'default', uid: 'model-1', generation: 1 };
  const created = unobserved({ apiVersion: 'windlass.dev/v1alpha1', kind: 'Model', metadata, spec: {} });
  const with_ = (model: Model, versions: ModelVersion[]): Model => ({ ...model, status: modelStatus(model, versions, now) });
  const seen = (of: ModelVersion): ModelVersion => ({ ...of, status: versionStatus(of, now) });
  return [
    { name: 'a Model just created', object: created, kstatus: 'InProgress', argo: 'Progressing' },
    { name: 'a Model without a version', object: with_(created, []), kstatus: 'InProgress', argo: 'Progressing' },
    { name: 'a Model with versions', object: with_(created, both.versions), kstatus: 'Current', argo: 'Healthy' },
    { name: 'a Model edited', object: changed(with_(created, both.versions)), kstatus: 'InProgress', argo: 'Progressing' },
    { name: 'a Model being deleted', object: leaving(with_(created, [])), kstatus: 'Terminating', argo: 'Progressing' },
    { name: 'a ModelVersion just created', object: unobserved(version(1)), kstatus: 'InProgress', argo: 'Progressing' },
    { name: 'a ModelVersion', object: seen(version(1)), kstatus: 'Current', argo: 'Healthy' },
    { name: 'a ModelVersion being deleted', object: leaving(seen(version(1))), kstatus: 'Terminating', argo: 'Progressing' },
  ];
}
