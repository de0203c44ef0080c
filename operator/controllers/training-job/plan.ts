// Decides what a TrainingJob needs next. Pure: the same observation gives the same plan.
import { applyConditions, isConditionTrue } from '#crds/conditions.ts';
import { label } from '#crds/names.ts';
import { maxReplaced } from '#crds/v1alpha1/training-job-status.ts';
import type { ModelVersion, TrainingJob, TrainingJobStatus } from '#crds/v1alpha1/index.ts';
import { isoTime } from '#operator/kube/clock.ts';
import { isPodFinished, isPodReady } from '#operator/kube/core.ts';
import type { Pod } from '#operator/kube/core.ts';
import { ExitCode } from '#runtime/api/exit-codes.ts';
import { ownScheduleFault } from '#runtime/api/schedule/own-schedule.ts';
import { effectiveOf, runtimeMissing } from '../effective.ts';
import { endingOf, withRemedy } from '../pod-ending.ts';
import { reasonOf, verdicts } from '../reasons.ts';
import type { Action, Decision, Observed, Plan } from './decision.ts';
import { settingsOf } from './first-pods.ts';
import { causeOf, gangOf, settlesIn } from './gang.ts';
import type { Ended, Gang } from './gang.ts';
import { endGroups } from './pod-group.ts';
import { lastSaved } from './last-saved.ts';
import { podSetsOf } from './pod-sets.ts';
import { graceSeconds, podsOf, ranksOf } from './pods.ts';
import { copyCondition, newModel, newVersion, versionOf } from './publish.ts';
import { excluded, judge } from './recovery.ts';
import { failureMessage, failureOf } from './failure.ts';
import { goodputOf } from './goodput.ts';
import { hopeless } from './coming-up.ts';
import { restartAsAsked, restartRequest } from './requested-restart.ts';
import { removals } from './removal.ts';
import { noLongerSuspended } from './run-conditions.ts';
import { remaining, run } from './running.ts';
import { foldProgress, forgetRanks, summaryOf } from './status.ts';

export function planTrainingJob(seen: Observed, now: number): Plan {
  const decision = decide(seen, now);
  const { job, pods } = seen;
  const generation = job.metadata.generation ?? 0;
  const status: TrainingJobStatus = {
    ...job.status,
    attempt: job.status?.attempt ?? 0,
    restarts: job.status?.restarts ?? 0,
    ...decision.status,
    observedGeneration: generation,
    state: decision.state,
    world: decision.status?.world ?? (decision.state === 'Running' ? job.status?.world : undefined) ?? ranksOf(job),
    readyRanks: pods.filter((pod) => isPodReady(pod) && !isPodFinished(pod) && pod.metadata.deletionTimestamp === undefined)
      .length,
    conditions: applyConditions(job.status?.conditions, decision.conditions, generation, isoTime(now)),
  };
  if (status.effective) status.podSets = podSetsOf(job, status.effective);
  status.summary = summaryOf(status, podsOf(job));
  status.goodput = goodputOf(job.status ?? {}, status, decision.clock, now);
  return { actions: decision.actions ?? [], status, events: decision.events ?? [], requeueAfterMs: decision.requeueAfterMs };
}

function decide(seen: Observed, now: number): Decision {
  const { job, pods } = seen;
  if (isConditionTrue(job, 'Complete') || isConditionTrue(job, 'Failed')) return afterEnd(seen, now);
  const done = versionOf(job, seen.versions);
  if (done) return complete(seen, done, now);
  const effective = job.status?.effective;
  if (!effective) return resolveRuntime(seen);

  const gang = gangOf(job, pods);
  if (gang.ended.some(hasPublished)) return publish(seen, gang, effective.modelsClaim, now);

  if (job.spec.suspend) return suspend(seen, now);
  const deadline = deadlineOf(job);
  if (deadline !== undefined && now >= deadline) {
    const told = `the job ran longer than activeDeadlineSeconds: ${job.spec.activeDeadlineSeconds}`;
    const message = withRemedy(told, verdicts.DeadlineExceeded.remedy);
    return fail(seen, { reason: 'DeadlineExceeded', message, status: {} }, now);
  }
  const fault = pods.length === 0 ? ownScheduleFault(job.spec) : undefined;
  if (fault !== undefined) return fail(seen, { reason: reasonOf('WL_MANIFEST_INVALID'), message: fault, status: {} }, now);
  const cause = causeOf(gang, job);
  const settlingMs = cause ? settlesIn(gang, cause, job, now) : undefined;
  if (cause && settlingMs === 0) return recover(seen, gang, cause, now);
  const [taken] = gang.taken;
  if (taken && !cause) return recover(seen, gang, taken, now);
  const { stuck, dueMs } = hopeless(job, gang.current, now);
  if (stuck && !cause) return recover(seen, gang, stuck, now);
  const request = restartRequest(job);
  if (request !== undefined) return restartAsAsked(seen, request);
  return run(seen, gang, now, { deadline, settlingMs, ruleMs: dueMs });
}

/** First sight: the runtime's settings are copied. Pods that are there say what was copied before. */
function resolveRuntime({ job, pods, runtime, builtin }: Observed): Decision {
  const reference = job.spec.runtimeRef;
  const copied = settingsOf(pods);
  if (reference && !runtime && !copied) {
    return {
      state: 'Pending',
      conditions: [{ type: 'Ready', status: 'False', reason: 'RuntimeNotFound', message: runtimeMissing(reference) }],
    };
  }
  return {
    state: 'Pending',
    conditions: [
      { type: 'Ready', status: 'Unknown', reason: 'Starting', message: 'no pod has been made yet' },
      { type: 'Reconciling', status: 'True', reason: 'Starting' },
    ],
    status: { effective: copied ?? effectiveOf(runtime, builtin) },
  };
}

/**
 * Pods failed, were taken away, or do not come up. Those that the others can go on without are replaced one by one; otherwise the counter of
 * attempts goes up, and all pods of this attempt are stale from now on. Either is written down before anything is done, so that nobody
 * counts an end twice.
 */
function recover(seen: Observed, gang: Gang, { pod, ending }: Ended, now: number): Decision {
  const { job } = seen;
  const status = job.status ?? {};
  const figures = ending.words.progress ? foldProgress(status, ending.words.progress, now) : {};
  const step = ending.words.step ?? figures.progress?.step ?? status.progress?.step;
  const faultsInARow = step !== undefined && step > (status.lastFailure?.step ?? -1) ? 0 : (status.faultsInARow ?? 0);
  const verdict = judge(job, gang, { pod, ending }, seen.report, faultsInARow);
  const failure = { ...failureOf(pod, ending, verdict, now), step };
  if (verdict.action === 'Fail') {
    const isOver = verdict.rule === 'MaxRestarts';
    failure.remedy ??= verdicts[isOver ? 'MaxRestartsReached' : 'FailedByRule'].remedy;
    const message = failureMessage(failure);
    const reason = isOver
      ? 'MaxRestartsReached'
      : failure.code
        ? reasonOf(failure.code)
        : (failure.reason ?? failedBy(verdict.rule));
    const prefix = isOver ? `gave up after ${verdict.restarts} restarts (faults.maxRestarts): ` : '';
    const why = { reason, message: prefix + message, status: { ...figures, lastFailure: failure, restarts: verdict.restarts } };
    return { ...fail(seen, why, now), clock: ending.words.progress?.clock };
  }
  const message = failureMessage(failure);
  const { replaces } = verdict;
  const leaving = [pod, ...gang.ended.map((ended) => ended.pod), ...gang.taken.map((taken) => taken.pod)];
  const replacing = new Set([
    ...(remaining(status.replacing, seen.pods) ?? []),
    ...leaving.map(({ metadata }) => metadata.uid ?? ''),
  ]);
  const next: Partial<TrainingJobStatus> = replaces
    ? { replacing: [...replacing], inPlaceRestarts: leaving.some(isCoordinator) ? undefined : verdict.inPlaceRestarts }
    : { attempt: (status.attempt ?? 0) + 1, inPlaceRestarts: undefined, replacing: undefined, ...forgetRanks };
  const waits = verdict.charged || verdict.delaySeconds > 0;
  return {
    state: 'Restarting',
    clock: ending.words.progress?.clock,
    conditions: [
      { type: 'Ready', status: 'False', reason: 'Restarting', message },
      { type: 'Reconciling', status: 'True', reason: 'Restarting' },
      { type: 'Stalled', status: 'False', reason: 'Restarting' },
    ],
    status: {
      ...figures,
      ...next,
      restarts: verdict.restarts,
      ...(waits ? { faultsInARow: faultsInARow + 1 } : {}),
      ...(verdict.rule === 'SameFault' ? {} : { lastFailure: failure }),
      ...(verdict.action === 'ExcludeNode' ? { excludedNodes: excluded(status.excludedNodes, pod.spec.nodeName) } : {}),
      nextRestartTime: verdict.delaySeconds === 0 ? undefined : isoTime(now + verdict.delaySeconds * 1000 + 999),
    },
    events: [
      {
        type: verdict.charged ? 'Warning' : 'Normal',
        reason: replaces ? 'ReplacingPod' : 'Restarting',
        action: 'Restart',
        note: message,
      },
    ],
  };
}

function fail(
  seen: Observed,
  why: { reason: string; message: string; status: Partial<TrainingJobStatus> },
  now: number,
): Decision {
  const { reason, message } = why;
  return {
    state: 'Failed',
    conditions: [
      { type: 'Failed', status: 'True', reason, message },
      { type: 'Ready', status: 'False', reason, message },
      { type: 'Stalled', status: 'True', reason, message },
      { type: 'Reconciling', status: 'False', reason },
      ...noLongerSuspended(seen.job),
    ],
    status: { ...forgetRanks, ...why.status, completionTime: isoTime(now), nextRestartTime: undefined, replacing: undefined },
    actions: runningPods(seen).map((pod) => ({ type: 'deletePod', pod })),
    events: [{ type: 'Warning', reason: 'Failed', action: 'Fail', note: message }],
  };
}

/** The pod of index 0 counts the restarts in place; the one after it begins at 0. */
function isCoordinator(pod: Pod): boolean {
  return pod.metadata.labels?.[label.rank] === '0';
}

/** Whether a pod left a model behind: then nothing that happens to the others matters any more. */
function hasPublished({ ending }: Ended): boolean {
  return ending.exitCode === ExitCode.done && ending.words.published !== undefined;
}

/** The model becomes a version when all pods have ended, or have had time to. */
function publish(seen: Observed, gang: Gang, modelsClaim: string, now: number): Decision {
  const { job, model, versions } = seen;
  const { ending } = gang.ended.find(hasPublished)!;
  const leftMs = ending.time === undefined ? 0 : Date.parse(ending.time) + graceSeconds * 1000 - now;
  const waits = gang.current.some((pod) => !isPodFinished(pod)) && leftMs > 0;
  const action: Action = model
    ? { type: 'createVersion', version: newVersion(job, model, versions, ending.words.published!, modelsClaim) }
    : { type: 'createModel', model: newModel(job) };
  return {
    state: 'Running',
    conditions: [
      { type: 'Reconciling', status: 'True', reason: 'Publishing', message: `publishing to model ${job.spec.output.model}` },
    ],
    actions: waits ? [] : [action],
    requeueAfterMs: waits ? leftMs : undefined,
  };
}

function complete(seen: Observed, version: ModelVersion, now: number): Decision {
  const words = seen.pods.filter(isPodFinished).map((pod) => endingOf(pod).words);
  const last = words.find(({ published, progress }) => published !== undefined && progress !== undefined);
  const used = (seen.job.status?.restarts ?? 0) - (seen.job.status?.inPlaceRestarts ?? 0);
  const inPlace = last?.restarts ?? seen.job.status?.inPlaceRestarts ?? 0;
  const figures = last?.progress ? foldProgress(seen.job.status ?? {}, last.progress, now) : {};
  const copy = copyCondition(seen.job, version, last?.published);
  const told = `published ${version.metadata.name}`;
  const message = copy?.status === 'False' ? `${told}; ${copy.message}` : told;
  const {
    phase: _,
    phaseShare: __,
    etaSeconds: ___,
    transfer: ____,
    ...progress
  } = figures.progress ?? seen.job.status?.progress ?? {};
  return {
    state: 'Succeeded',
    clock: last?.progress?.clock,
    conditions: [
      { type: 'Complete', status: 'True', reason: 'Published', message },
      { type: 'Ready', status: 'True', reason: copy?.status === 'False' ? 'CopyFailed' : 'Complete', message },
      { type: 'Reconciling', status: 'False', reason: 'Complete' },
      { type: 'Stalled', status: 'False', reason: 'Complete' },
      ...(copy ? [copy] : []),
      ...noLongerSuspended(seen.job),
    ],
    status: {
      ...forgetRanks,
      modelVersion: version.metadata.name,
      completionTime: isoTime(now),
      nextRestartTime: undefined,
      replacing: undefined,
      restarts: used + inPlace,
      inPlaceRestarts: inPlace,
      ...figures,
      progress,
    },
    events: [
      { type: 'Normal', reason: 'Complete', action: 'Publish', note: told },
      ...(copy?.status === 'False'
        ? [{ type: 'Warning', reason: 'CopyFailed', action: 'Publish', note: (copy.message ?? '').slice(0, 1024) } as const]
        : []),
    ],
  };
}

function suspend(seen: Observed, now: number): Decision {
  const going = seen.pods.length > 0;
  const removal = removals(seen.pods, now, seen.removeAfterMs);
  const groups = endGroups(seen);
  const message = going ? 'the pods save a checkpoint and end' : 'spec.suspend is true; set it to false to go on';
  return {
    state: 'Suspended',
    conditions: [
      { type: 'Suspended', status: 'True', reason: 'Suspended', message },
      { type: 'Ready', status: 'False', reason: 'Suspended', message },
      { type: 'Reconciling', status: going ? 'True' : 'False', reason: 'Suspended' },
      { type: 'Stalled', status: 'False', reason: 'Suspended' },
      ...groups.conditions,
    ],
    status: {
      ...forgetRanks,
      ...lastSaved(seen, now),
      startTime: undefined,
      nextRestartTime: undefined,
      // Nobody shall take them for pods that somebody else took away, should the job go on before they are gone.
      replacing: going ? seen.pods.map(({ metadata }) => metadata.uid ?? '').slice(0, maxReplaced) : undefined,
      excludedNodes: undefined,
    },
    actions: [
      ...seen.pods
        .filter((pod) => pod.metadata.deletionTimestamp === undefined)
        .map((pod): Action => ({ type: 'deletePod', pod })),
      ...removal.actions,
      ...groups.actions,
    ],
    requeueAfterMs: removal.dueMs,
    events: isConditionTrue(seen.job, 'Suspended')
      ? []
      : [{ type: 'Normal', reason: 'Suspended', action: 'Suspend', note: 'stopped the pods' }],
  };
}

/** An ended job keeps its finished pods for their logs, and goes when its time to live is over. */
function afterEnd(seen: Observed, now: number): Decision {
  const { job } = seen;
  const ttlMs = job.spec.ttlSecondsAfterFinished === undefined ? undefined : job.spec.ttlSecondsAfterFinished * 1000;
  const ended = job.status?.completionTime === undefined ? now : Date.parse(job.status.completionTime);
  const leftMs = ttlMs === undefined ? undefined : ended + ttlMs - now;
  const stop: Action[] = runningPods(seen).map((pod) => ({ type: 'deletePod', pod }));
  return {
    state: isConditionTrue(job, 'Complete') ? 'Succeeded' : 'Failed',
    conditions: [],
    actions: leftMs !== undefined && leftMs <= 0 ? [{ type: 'deleteJob' }] : stop,
    requeueAfterMs: leftMs !== undefined && leftMs > 0 ? leftMs : undefined,
  };
}

const runningPods = ({ pods }: Observed) =>
  pods.filter((pod) => !isPodFinished(pod) && pod.metadata.deletionTimestamp === undefined);

function deadlineOf(job: TrainingJob): number | undefined {
  const { startTime } = job.status ?? {};
  if (startTime === undefined || job.spec.activeDeadlineSeconds === undefined) return undefined;
  return Date.parse(startTime) + job.spec.activeDeadlineSeconds * 1000;
}

/** A rule of the job has no reason of its own. */
const failedBy = (rule: string) => (rule === 'UserError' ? rule : 'FailedByRule');
