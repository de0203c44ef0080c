// Decides what an InferenceService needs next. Pure: the same observation gives the same plan.
import { applyConditions } from '#crds/conditions.ts';
import type { ConditionChange } from '#crds/conditions.ts';
import type { Effective, InferenceService, InferenceServiceStatus, Model, ModelVersion } from '#crds/v1alpha1/index.ts';
import type { Happening } from '#operator/framework/event-recorder.ts';
import { isoTime } from '#operator/kube/clock.ts';
import { isPodReady } from '#operator/kube/core.ts';
import type { Pod, PodDisruptionBudget, Service } from '#operator/kube/core.ts';
import { ExitCode } from '#runtime/api/exit-codes.ts';
import { effectiveOf, runtimeMissing } from '../effective.ts';
import type { BuiltinSettings, Runtime } from '../effective.ts';
import { lastEndingOf, withRemedy } from '../pod-ending.ts';
import { troubleOf } from '../pod-trouble.ts';
import { planBudget } from './budget.ts';
import type { BudgetAction } from './budget.ts';
import { failureReason, kserveStatus } from './model-status.ts';
import type { ModelFailure } from './model-status.ts';
import { frontService, podSelector, revisionOf, revisionOfPod, servedBy, servingPod } from './pods.ts';
import { rolloutOf, timeLeft } from './progress.ts';
import { startedAnew } from './requested-restart.ts';
import { holdsRoomUntil, rollStep } from './roll.ts';
import { firstStartupMs, isStarting, startupsEveryMs } from './startups.ts';
import type { PodStartup } from './startups.ts';
import { resolveTarget } from './target.ts';
import type { Target } from './target.ts';
import { lastServedOf, wayBack } from './way-back.ts';

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
  /** What pods that do not answer requests yet say of themselves, as far as they do. */
  startups: readonly PodStartup[];
  /** The PodDisruptionBudget of the same name, whoever made it. */
  budget: PodDisruptionBudget | undefined;
  /** Names of nodes that pods are to leave. */
  cordoned: ReadonlySet<string>;
}

export type Action =
  | { type: 'createPod'; pod: Pod }
  | { type: 'deletePod'; pod: Pod }
  | { type: 'createFront'; front: Service }
  | { type: 'updateFront'; front: Service }
  | BudgetAction;

export interface Plan {
  actions: Action[];
  status: InferenceServiceStatus;
  events: Happening[];
  /** Looks again after this time even if nothing happens. */
  againAfterMs?: number;
}

export function planInferenceService(observed: Observed, now: number): Plan {
  const seen = startedAnew(observed);
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
  const around = [...front.actions, ...planBudget(service, seen.budget)];
  const resolution = resolveTarget(service, seen.model, seen.versions);
  if ('waitsFor' in resolution) return waitForModel(seen, resolution.waitsFor, around, now);
  return roll(seen, effective, resolution.target, around, now);
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
    status: { model: waitingModel(activeOf(seen)) },
  });
}

function waitingModel(active: string | undefined): InferenceServiceStatus['model'] {
  const model = { state: 'Waiting', active, target: undefined, lastFailure: undefined } as const;
  return { state: 'Waiting', active, ...kserveStatus(model, { ready: 0, failed: 0 }) };
}

function roll(seen: Observed, effective: Effective, target: Target, more: Action[], now: number): Plan {
  const { service, pods } = seen;
  const { replicas, rollout: settings } = service.spec;
  const revision = revisionOf(service, effective, target);
  const { strategy } = settings;
  const isCordoned = (node: string) => seen.cordoned.has(node);
  const { create, remove, wanted, leaving, awaited } = rollStep({ pods, revision, replicas, strategy, isCordoned, now });
  const created = create.map((index): Action => ({
    type: 'createPod',
    pod: servingPod(service, effective, target, revision, index),
  }));
  const ready = wanted.filter(isPodReady).length;
  const rolled = ready === replicas && remove.length === 0 && leaving.length === 0;
  const madeReplicas = wanted.length + create.length;
  const rollout = rolloutOf(service.status?.rollout, { revision, replicas, readyReplicas: ready, madeReplicas }, now);
  const drainsUntil = Math.max(0, ...awaited.map(holdsRoomUntil));
  const leftMs = timeLeft(rollout, settings.progressDeadlineSeconds, now, drainsUntil);
  const failures = failuresOf(seen, wanted, now);
  const failure = rolled ? undefined : failures[0];
  const model = {
    state: rolled ? 'Serving' : failure ? 'Failed' : 'Loading',
    target: target.id,
    active: ready > 0 ? target.id : activeOf(seen),
    lastFailure: failures[0] ?? service.status?.model?.lastFailure,
    ...lastServedOf(service, { rolled, now: { target: target.id, revision } }),
    ...startupsOf(seen, wanted),
    ...(service.spec.model.fromTrainingJob?.follow === false ? { pinned: target.id } : {}),
  } as const;
  const conditions = rollConditions({
    target,
    replicas,
    rolled,
    failure,
    serving: [...wanted, ...leaving].filter(isPodReady).length,
    awaited,
    wayBack: wayBack(service, { target: target.id, revision }),
    trouble: troubleWithRemedy(wanted, strategy, leaving, revision),
    stuckSeconds: leftMs === 0 ? settings.progressDeadlineSeconds : undefined,
  });
  const events: Happening[] = [];
  if (create.length > 0) {
    const note = `made ${create.length} pods for ${target.id}, revision ${revision}`;
    events.push({ type: 'Normal', reason: 'PodCreated', action: 'CreatePod', note });
  }
  const drained = strategy === 'DrainFirst' ? remove.filter((pod) => leaving.includes(pod) && isPodReady(pod)) : [];
  if (drained.length > 0) {
    const note = `ends ${drained.map(named).join(', ')} to make room for ${target.id}, revision ${revision}`;
    events.push({ type: 'Normal', reason: 'Draining', action: 'DeletePod', note });
  }
  if (rolled && service.status?.model?.state !== 'Serving') {
    events.push({ type: 'Normal', reason: 'Serving', action: 'Roll', note: `serves ${target.id} with ${replicas} pods` });
  }
  return {
    ...planOf(seen, now, conditions, {
      actions: [...more, ...created, ...remove.map((pod): Action => ({ type: 'deletePod', pod }))],
      status: { model: { ...model, ...kserveStatus(model, { ready, failed: failures.length }) }, rollout },
      events,
    }),
    ...againAfter([leftMs ?? 0, drainsUntil - now], wanted, seen.startups),
  };
}

/** At the next of some times to come, and while pods are starting: how far they are is told by them alone. */
function againAfter(leftMs: readonly number[], wanted: readonly Pod[], told: readonly PodStartup[]): { againAfterMs?: number } {
  const nextMs = told.length > 0 ? startupsEveryMs : firstStartupMs;
  const times = [...leftMs.filter((ms) => ms > 0), ...(wanted.some(isStarting) ? [nextMs] : [])];
  return times.length === 0 ? {} : { againAfterMs: Math.min(...times) };
}

function startupsOf({ startups }: Observed, wanted: readonly Pod[]): { startups?: PodStartup[] } {
  const names = new Set(wanted.map(({ metadata }) => metadata.name));
  const told = startups.filter(({ pod }) => names.has(pod));
  return told.length === 0 ? {} : { startups: told };
}

/** What keeps pods from starting. Where old pods hold the room that new ones need, they can go first. */
function troubleWithRemedy(
  wanted: readonly Pod[],
  strategy: string,
  leaving: readonly Pod[],
  revision: string,
): { reason: string; message: string } | undefined {
  const trouble = wanted.map(troubleOf).find((found) => found);
  if (!trouble) return undefined;
  const { reason, message, words } = trouble;
  const areReplaced = leaving.some((pod) => revisionOfPod(pod) !== revision);
  if (reason !== 'Unschedulable' || strategy !== 'Surge' || !areReplaced) return { reason, message };
  const remedy = 'Add a node, or set spec.rollout.strategy to DrainFirst: old pods then end before new ones start.';
  return { reason, message: withRemedy(words, remedy) };
}

interface RollState {
  target: Target;
  replicas: number;
  rolled: boolean;
  /** Pods that answer, of all revisions. */
  serving: number;
  /** Pods that end before others start. */
  awaited: readonly Pod[];
  /** What was served before, and how to have it back. */
  wayBack: string | undefined;
  failure: ModelFailure | undefined;
  trouble: { reason: string; message: string } | undefined;
  /** For how long nothing has gone on, if that is too long. */
  stuckSeconds: number | undefined;
}

function rollConditions(state: RollState): ConditionChange[] {
  const { target, replicas, rolled, serving, failure, stuckSeconds } = state;
  if (rolled) {
    const reason = replicas === 0 ? 'ScaledToZero' : 'Serving';
    return [
      { type: 'Ready', status: 'True', reason, message: replicas === 0 ? 'spec.replicas is 0' : `serves ${target.id}` },
      { type: 'Reconciling', status: 'False', reason },
      stalled(false),
    ];
  }
  const why = causeOf(state);
  const ready: ConditionChange = { type: 'Ready', status: serving > 0 ? 'True' : 'False', ...why };
  const stops = { type: 'Reconciling', status: 'False', reason: why.reason } as const;
  // A user error will not go away by itself: kstatus shall say so.
  if (failure?.exitCode === ExitCode.userError) return [ready, stalled(true, why), stops];
  if (stuckSeconds === undefined) return [ready, { type: 'Reconciling', status: 'True', ...why }, stalled(false)];
  const message = `no further pod of ${target.id} became ready in ${stuckSeconds} s (spec.rollout.progressDeadlineSeconds); ${why.message}`;
  return [ready, stalled(true, { reason: 'ProgressDeadlineExceeded', message }), stops];
}

/** What the target waits for. Where too little answers because of what is wrong with it, the way back is told too. */
function causeOf(state: RollState): { reason: string; message: string } {
  const { target, replicas, serving, awaited, wayBack: back, failure, trouble, stuckSeconds } = state;
  const cause = failure ? { reason: 'EngineFailed', message: failureText(failure) } : trouble;
  const isLacking = serving < replicas && (cause !== undefined || stuckSeconds !== undefined);
  const { reason, message } = cause ?? waitOf(target, serving, awaited);
  return { reason, message: isLacking && back !== undefined ? withRemedy(message, back) : message };
}

function waitOf({ id }: Target, serving: number, awaited: readonly Pod[]): { reason: string; message: string } {
  if (awaited.length === 0) return { reason: 'PodsStarting', message: `${serving} pods answer; those of ${id} are starting` };
  const times = awaited.flatMap(({ metadata }) => metadata.deletionTimestamp ?? []).toSorted();
  const until = times.length === 0 ? '' : ` until ${times.at(-1)} at the latest`;
  const end = `${awaited.map(named).join(', ')} ${awaited.length === 1 ? 'ends' : 'end'} first (spec.rollout.strategy: DrainFirst)`;
  const message = `${serving} pods answer; ${end}: what has begun goes on${until}, then one of ${id} starts`;
  return { reason: 'Draining', message };
}

const named = (pod: Pod): string => `pod ${pod.metadata.name} of ${servedBy(pod)}`;

/** How engines of these pods failed; a failure that is known keeps its time. */
function failuresOf({ service }: Observed, pods: readonly Pod[], now: number): ModelFailure[] {
  return pods.flatMap((pod) => {
    const ending = isPodReady(pod) ? undefined : lastEndingOf(pod);
    if (!ending) return [];
    const { words, exitCode, signal } = ending;
    const ended = signal === undefined ? `the engine ended with code ${exitCode}` : `the engine was ended by signal ${signal}`;
    const memory = ending.reason === 'OOMKilled' ? 'the engine used more memory than its limit' : undefined;
    return {
      time: ending.time ?? service.status?.model?.lastFailure?.time ?? isoTime(now),
      pod: pod.metadata.name,
      reason: failureReason(exitCode, words.code),
      ...(exitCode !== undefined && exitCode <= 255 ? { exitCode } : {}),
      ...(words.code === undefined ? {} : { code: words.code.slice(0, 64) }),
      message: (words.message ?? memory ?? ended).slice(0, 4096),
      ...(words.remedy === undefined ? {} : { remedy: words.remedy.slice(0, 1024) }),
    };
  });
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
