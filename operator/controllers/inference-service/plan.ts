// Decides what an InferenceService needs next. Pure: the same observation gives the same plan.
import { applyConditions } from '#crds/conditions.ts';
import type { ConditionChange } from '#crds/conditions.ts';
import type { Effective, InferenceService, InferenceServiceStatus, Model, ModelVersion } from '#crds/v1alpha1/index.ts';
import type { Happening } from '#operator/framework/event-recorder.ts';
import { isoTime } from '#operator/kube/clock.ts';
import { isPodFinished, isPodReady } from '#operator/kube/core.ts';
import type { Pod, Service } from '#operator/kube/core.ts';
import { ExitCode } from '#runtime/api/exit-codes.ts';
import { effectiveOf, runtimeMissing } from '../effective.ts';
import type { BuiltinSettings, Runtime } from '../effective.ts';
import { lastEndingOf, withRemedy } from '../pod-ending.ts';
import { troubleOf } from '../pod-trouble.ts';
import { frontService, indexOfPod, podName, podSelector, revisionOf, revisionOfPod, servedBy, servingPod } from './pods.ts';
import { resolveTarget } from './target.ts';
import type { Target } from './target.ts';

export interface Observed {
  service: InferenceService;
  /** Pods that the service owns, of every revision. */
  pods: readonly Pod[];
  /** The Service of the same name, whoever made it. */
  front: Service | undefined;
  model: Model | undefined;
  /** All versions of the namespace. */
  versions: readonly ModelVersion[];
  runtime: Runtime | undefined;
  builtin: BuiltinSettings;
  /** Where clients reach the Service; undefined while it has no address. */
  urlOf: (front: Service) => string | undefined;
}

export type Action =
  | { type: 'createPod'; pod: Pod }
  | { type: 'deletePod'; pod: Pod }
  | { type: 'createFront'; front: Service }
  | { type: 'updateFront'; front: Service };

export interface Plan {
  actions: Action[];
  status: InferenceServiceStatus;
  events: Happening[];
}

export function planInferenceService(seen: Observed, now: number): Plan {
  const { service } = seen;
  const { effective } = service.status ?? {};
  if (!effective) return resolveRuntime(seen, now);
  const front = planFront(seen);
  if (front.taken) {
    return planOf(seen, now, [
      { type: 'Ready', status: 'False', ...front.taken },
      { type: 'Stalled', status: 'True', ...front.taken },
      { type: 'Reconciling', status: 'False', ...front.taken },
    ]);
  }
  const resolution = resolveTarget(service, seen.model, seen.versions);
  if ('waitsFor' in resolution) return waitForModel(seen, resolution.waitsFor, front.actions, now);
  return roll(seen, effective, resolution.target, front.actions, now);
}

function resolveRuntime(seen: Observed, now: number): Plan {
  const { service, runtime, builtin } = seen;
  const reference = service.spec.runtimeRef;
  if (reference && !runtime) {
    return planOf(seen, now, [{ type: 'Ready', status: 'False', reason: 'RuntimeNotFound', message: runtimeMissing(reference) }]);
  }
  const conditions: ConditionChange[] = [
    { type: 'Ready', status: 'Unknown', reason: 'Starting', message: 'no pod has been made yet' },
    { type: 'Reconciling', status: 'True', reason: 'Starting' },
  ];
  return planOf(seen, now, conditions, { status: { effective: effectiveOf(runtime, builtin) } });
}

function planFront({ service, front }: Observed): { actions: Action[]; taken?: { reason: string; message: string } } {
  const wanted = frontService(service);
  if (!front) return { actions: [{ type: 'createFront', front: wanted }] };
  const ours = front.metadata.ownerReferences?.some((owner) => owner.uid === service.metadata.uid);
  if (!ours) {
    const message = `a Service of the name ${service.metadata.name} exists and belongs to somebody else; delete it, or rename this object`;
    return { actions: [], taken: { reason: 'NameTaken', message } };
  }
  if (front.spec.ports[0]?.port === service.spec.port) return { actions: [] };
  return { actions: [{ type: 'updateFront', front: { ...front, spec: { ...front.spec, ports: wanted.spec.ports } } }] };
}

/** Without a target, what serves goes on serving. */
function waitForModel(seen: Observed, why: { reason: string; message: string }, actions: Action[], now: number): Plan {
  const serving = alive(seen).some(isPodReady);
  const conditions: ConditionChange[] = serving
    ? [{ type: 'Ready', status: 'True', reason: 'ServingOldModel', message: why.message }]
    : [{ type: 'Ready', status: 'False', ...why }];
  return planOf(seen, now, [...conditions, { type: 'Reconciling', status: 'True', ...why }, stalled(false)], {
    actions,
    status: { model: { state: 'Waiting', active: activeOf(seen) } },
  });
}

function roll(seen: Observed, effective: Effective, target: Target, front: Action[], now: number): Plan {
  const { service, pods } = seen;
  const { replicas } = service.spec;
  const revision = revisionOf(service, effective, target);
  const living = alive(seen);
  const current = living.filter((pod) => revisionOfPod(pod) === revision && !isPodFinished(pod));
  const old = living.filter((pod) => revisionOfPod(pod) !== revision);

  const missing = Array.from({ length: replicas }, (_, index) => index).filter(
    (index) => !pods.some((pod) => pod.metadata.name === podName(service, revision, index)),
  );
  const created = missing.map((index): Action => ({
    type: 'createPod',
    pod: servingPod(service, effective, target, revision, index),
  }));
  const wanted = current.filter((pod) => indexOfPod(pod) < replicas);
  const readyWanted = wanted.filter(isPodReady);
  const surplus = current.filter((pod) => indexOfPod(pod) >= replicas);
  const finished = living.filter((pod) => isPodFinished(pod) && revisionOfPod(pod) === revision);
  // As many old pods stay as new ones are still missing: what answers now goes on answering.
  const keep = Math.max(0, replicas - readyWanted.length);
  const kept = old.filter((pod) => isPodReady(pod) && !isPodFinished(pod)).slice(0, keep);
  const removed = [...surplus, ...finished, ...old.filter((pod) => !kept.includes(pod))];

  const rolled = readyWanted.length === replicas && old.length === 0 && surplus.length === 0;
  const failure = failureOf(seen, current, now);
  const failed = failure !== undefined && !rolled;
  const state = rolled ? 'Serving' : failed ? 'Failed' : 'Loading';
  const serving = [...current, ...old].filter(isPodReady).length;
  const conditions = rollConditions(
    { serving, replicas, rolled, failure, trouble: current.map(troubleOf).find((found) => found) },
    target,
  );
  const events: Happening[] = [];
  if (missing.length > 0) {
    events.push({
      type: 'Normal',
      reason: 'PodCreated',
      action: 'CreatePod',
      note: `made ${missing.length} pods for ${target.id}, revision ${revision}`,
    });
  }
  if (rolled && service.status?.model?.state !== 'Serving') {
    events.push({ type: 'Normal', reason: 'Serving', action: 'Roll', note: `serves ${target.id} with ${replicas} pods` });
  }
  return planOf(seen, now, conditions, {
    actions: [...front, ...created, ...removed.map((pod): Action => ({ type: 'deletePod', pod }))],
    status: {
      model: {
        state,
        target: target.id,
        active: readyWanted.length > 0 ? target.id : activeOf(seen),
        lastFailure: failure ?? service.status?.model?.lastFailure,
      },
    },
    events,
  });
}

interface RollState {
  /** Pods that answer, of all revisions. */
  serving: number;
  replicas: number;
  rolled: boolean;
  failure: ModelFailure | undefined;
  trouble: { reason: string; message: string } | undefined;
}

function rollConditions({ serving, replicas, rolled, failure, trouble }: RollState, target: Target): ConditionChange[] {
  if (rolled) {
    const reason = replicas === 0 ? 'ScaledToZero' : 'Serving';
    return [
      { type: 'Ready', status: 'True', reason, message: replicas === 0 ? 'spec.replicas is 0' : `serves ${target.id}` },
      { type: 'Reconciling', status: 'False', reason },
      stalled(false),
    ];
  }
  const cause = failure ? { reason: 'EngineFailed', message: failureText(failure) } : trouble;
  const why = cause ?? { reason: 'PodsStarting', message: `${serving} pods answer; those of ${target.id} are starting` };
  const ready: ConditionChange = { type: 'Ready', status: serving > 0 ? 'True' : 'False', ...why };
  // A user error will not go away by itself: kstatus shall say so.
  if (failure?.exitCode === ExitCode.userError)
    return [ready, stalled(true, why), { type: 'Reconciling', status: 'False', reason: why.reason }];
  return [ready, { type: 'Reconciling', status: 'True', ...why }, stalled(false)];
}

type ModelFailure = NonNullable<NonNullable<InferenceServiceStatus['model']>['lastFailure']>;

/** The newest failure of the pods of the target; one that is known keeps its time. */
function failureOf({ service }: Observed, current: readonly Pod[], now: number): ModelFailure | undefined {
  for (const pod of current) {
    const ending = isPodReady(pod) ? undefined : lastEndingOf(pod);
    if (!ending) continue;
    const { words, exitCode, signal } = ending;
    const ended = signal === undefined ? `the engine ended with code ${exitCode}` : `the engine was ended by signal ${signal}`;
    return {
      time: ending.time ?? service.status?.model?.lastFailure?.time ?? isoTime(now),
      pod: pod.metadata.name,
      ...(exitCode !== undefined && exitCode <= 255 ? { exitCode } : {}),
      ...(words.code === undefined ? {} : { code: words.code.slice(0, 64) }),
      message: (words.message ?? (ending.reason === 'OOMKilled' ? 'the engine used more memory than its limit' : ended)).slice(
        0,
        4096,
      ),
      ...(words.remedy === undefined ? {} : { remedy: words.remedy.slice(0, 1024) }),
    };
  }
  return undefined;
}

function failureText({ pod, exitCode, code, message, remedy }: ModelFailure): string {
  const where = [pod, exitCode === undefined ? undefined : `exit code ${exitCode}`, code].filter((part) => part !== undefined);
  return `${where.join(', ')}: ${withRemedy(message, remedy)}`;
}

function stalled(is: boolean, why = { reason: 'Progressing', message: '' }): ConditionChange {
  return { type: 'Stalled', status: is ? 'True' : 'False', ...why };
}

const alive = ({ pods }: Observed) => pods.filter((pod) => pod.metadata.deletionTimestamp === undefined);

/** What the pods that answer serve, newest pods first. */
function activeOf(seen: Observed): string | undefined {
  const ready = alive(seen).filter(isPodReady);
  const newest = ready.sort((a, b) => (b.metadata.creationTimestamp ?? '').localeCompare(a.metadata.creationTimestamp ?? ''))[0];
  return newest && servedBy(newest);
}

function planOf(
  seen: Observed,
  now: number,
  conditions: readonly ConditionChange[],
  more: { actions?: Action[]; status?: Partial<InferenceServiceStatus>; events?: Happening[] } = {},
): Plan {
  const { service, front } = seen;
  const generation = service.metadata.generation ?? 0;
  const living = alive(seen);
  const readyReplicas = living.filter(isPodReady).length;
  const selector = Object.entries(podSelector(service)).map(([name, value]) => `${name}=${value}`);
  const status: InferenceServiceStatus = {
    ...service.status,
    ...more.status,
    observedGeneration: generation,
    conditions: applyConditions(service.status?.conditions, conditions, generation, isoTime(now)),
    url: front && seen.urlOf(front),
    replicas: living.length,
    readyReplicas,
    labelSelector: selector.join(','),
    summary: { ready: `${readyReplicas}/${service.spec.replicas}` },
  };
  return { actions: more.actions ?? [], status, events: more.events ?? [] };
}
