// Decides what a TrainingJob needs next. Pure: the same observation gives the same plan.
import { applyConditions, isConditionTrue } from '#crds/conditions.ts';
import type { ConditionChange } from '#crds/conditions.ts';
import type { Model, ModelVersion, TrainingJob, TrainingJobStatus } from '#crds/v1alpha1/index.ts';
import type { Happening } from '#operator/framework/event-recorder.ts';
import { isoTime } from '#operator/kube/clock.ts';
import { isPodFinished, isPodReady } from '#operator/kube/core.ts';
import type { Pod } from '#operator/kube/core.ts';
import { ExitCode } from '#runtime/api/exit-codes.ts';
import type { ProgressReport } from '#runtime/api/messages.ts';
import { effectiveOf, runtimeMissing } from '../effective.ts';
import type { BuiltinSettings, Runtime } from '../effective.ts';
import { endingOf, troubleOf } from '../pod-ending.ts';
import { attemptOf, ranksOf, workerName, workerPod } from './pods.ts';
import { newModel, newVersion, versionOf } from './publish.ts';
import { failureMessage, failureOf, judge } from './recovery.ts';
import { foldProgress, foldReport, progressDueIn, summaryOf } from './status.ts';

export interface Observed {
  job: TrainingJob;
  /** Pods that the job owns, of every attempt. */
  pods: readonly Pod[];
  /** The runtime that spec.runtimeRef names, if it exists. */
  runtime: Runtime | undefined;
  /** The model that spec.output names, if it exists. */
  model: Model | undefined;
  /** All versions of the namespace. */
  versions: readonly ModelVersion[];
  /** Newest report of the job's ranks. */
  report: ProgressReport | undefined;
  builtin: BuiltinSettings;
}

export type Action =
  | { type: 'createPod'; pod: Pod }
  | { type: 'deletePod'; pod: Pod }
  | { type: 'createModel'; model: Model }
  | { type: 'createVersion'; version: ModelVersion }
  | { type: 'deleteJob' };

export interface Plan {
  actions: Action[];
  status: TrainingJobStatus;
  events: Happening[];
  requeueAfterMs?: number | undefined;
}

/** What a branch of the decision changes; the rest of the status stays as it was. */
interface Decision {
  state: NonNullable<TrainingJobStatus['state']>;
  conditions: ConditionChange[];
  status?: Partial<TrainingJobStatus>;
  actions?: Action[];
  events?: Happening[];
  requeueAfterMs?: number | undefined;
}

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
    world: ranksOf(job),
    readyRanks: pods.filter((pod) => isPodReady(pod) && !isPodFinished(pod) && pod.metadata.deletionTimestamp === undefined)
      .length,
    conditions: applyConditions(job.status?.conditions, decision.conditions, generation, isoTime(now)),
  };
  status.summary = summaryOf(status);
  return { actions: decision.actions ?? [], status, events: decision.events ?? [], requeueAfterMs: decision.requeueAfterMs };
}

function decide(seen: Observed, now: number): Decision {
  const { job, pods } = seen;
  if (isConditionTrue(job, 'Complete') || isConditionTrue(job, 'Failed')) return afterEnd(seen, now);
  const done = versionOf(job, seen.versions);
  if (done) return complete(seen, done, now);
  const effective = job.status?.effective;
  if (!effective) return resolveRuntime(seen);

  const attempt = job.status?.attempt ?? 0;
  const current = pods.filter((pod) => attemptOf(pod) === attempt && pod.metadata.deletionTimestamp === undefined);
  const ended = current.filter(isPodFinished).map((pod) => ({ pod, ending: endingOf(pod) }));
  const published = ended.find(({ ending }) => ending.exitCode === ExitCode.done && ending.words.published !== undefined);
  if (published?.ending.words.published) return publish(seen, published.ending.words.published, effective.modelsClaim);

  if (job.spec.suspend) return suspend(seen);
  const deadline = deadlineOf(job);
  if (deadline !== undefined && now >= deadline) {
    const message = `the job ran longer than activeDeadlineSeconds: ${job.spec.activeDeadlineSeconds}; raise it, or give the job fewer steps`;
    return fail(seen, { reason: 'DeadlineExceeded', message, status: {} }, now);
  }
  // Of several pods that ended, the one that ended first is the cause.
  const [first] = ended.sort((a, b) => (a.ending.time ?? '').localeCompare(b.ending.time ?? ''));
  if (first) return recover(seen, first, now);
  return run(seen, current, now, deadline);
}

/** First sight: the runtime's settings are copied before any pod is made from them. */
function resolveRuntime({ job, runtime, builtin }: Observed): Decision {
  const reference = job.spec.runtimeRef;
  if (reference && !runtime) {
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
    status: { effective: effectiveOf(runtime, builtin) },
  };
}

function run(seen: Observed, current: readonly Pod[], now: number, deadline: number | undefined): Decision {
  const { job, pods, report } = seen;
  const status = job.status ?? {};
  const attempt = status.attempt ?? 0;
  const stale = pods.filter((pod) => attemptOf(pod) !== attempt && pod.metadata.deletionTimestamp === undefined);
  const leaving = pods.length > current.length;
  const startTime = status.startTime ?? isoTime(now);
  const actions: Action[] = stale.map((pod) => ({ type: 'deletePod', pod }));
  const events: Happening[] = [];
  const waitMs = status.nextRestartTime === undefined ? 0 : Math.max(0, Date.parse(status.nextRestartTime) - now);
  if (!leaving && waitMs === 0) {
    for (let rank = 0; rank < ranksOf(job); rank++) {
      if (pods.some((pod) => pod.metadata.name === workerName(job, rank))) continue;
      const used = (status.restarts ?? 0) - (status.inPlaceRestarts ?? 0);
      const restartsLeft = Math.max(0, job.spec.faults.maxRestarts - used);
      actions.push({ type: 'createPod', pod: workerPod(job, status.effective!, { rank, attempt, restartsLeft }) });
      events.push({
        type: 'Normal',
        reason: 'PodCreated',
        action: 'CreatePod',
        note: `made pod ${workerName(job, rank)}, attempt ${attempt}`,
      });
    }
  }
  const ready = current.filter(isPodReady).length;
  const running = ready === ranksOf(job);
  const live = running && isNews(job, report, attempt) ? report : undefined;
  const dueMs = progressDueIn(status, now);
  const untilDeadline =
    deadline ?? (job.spec.activeDeadlineSeconds === undefined ? undefined : now + job.spec.activeDeadlineSeconds * 1000);
  const wakeUps = [waitMs || undefined, live && dueMs > 0 ? dueMs : undefined, untilDeadline && untilDeadline - now];
  return {
    state: running ? 'Running' : attempt > 0 ? 'Restarting' : 'Starting',
    conditions: [...runConditions(job, current, running, waitMs), ...noLongerSuspended(job)],
    status: {
      startTime,
      ...(waitMs === 0 ? { nextRestartTime: undefined } : {}),
      ...(live && dueMs === 0 ? foldReport(status, live, now) : {}),
    },
    actions,
    events,
    requeueAfterMs: earliest(wakeUps),
  };
}

/** Whether a report is of this attempt and later than what the status shows. */
function isNews(job: TrainingJob, report: ProgressReport | undefined, attempt: number): boolean {
  if (report?.uid !== job.metadata.uid || report?.attempt !== attempt) return false;
  const shown = job.status?.progress?.time;
  return shown === undefined || Date.parse(report.time) > Date.parse(shown);
}

function runConditions(job: TrainingJob, current: readonly Pod[], running: boolean, waitMs: number): ConditionChange[] {
  if (running) {
    return [
      { type: 'Ready', status: 'True', reason: 'Running', message: 'all ranks run' },
      { type: 'Reconciling', status: 'False', reason: 'Running' },
    ];
  }
  const trouble = current.map(troubleOf).find((found) => found !== undefined);
  if (trouble) {
    return [
      { type: 'Ready', status: 'False', ...trouble },
      { type: 'Reconciling', status: 'True', reason: 'PodsNotReady' },
    ];
  }
  const { attempt = 0, lastFailure, restarts, nextRestartTime } = job.status ?? {};
  if (attempt === 0 || !lastFailure) {
    return [
      { type: 'Ready', status: 'False', reason: 'Starting', message: 'the pods are starting' },
      { type: 'Reconciling', status: 'True', reason: 'Starting' },
    ];
  }
  const when =
    waitMs > 0 ? `restart ${restarts} of ${job.spec.faults.maxRestarts} at ${nextRestartTime}` : 'the pods are starting again';
  return [
    { type: 'Ready', status: 'False', reason: 'Restarting', message: `${when} after ${failureMessage(lastFailure)}` },
    { type: 'Reconciling', status: 'True', reason: 'Restarting' },
  ];
}

/** A pod failed: the counter of attempts goes up first, so that the pods of this attempt are stale from now on. */
function recover(seen: Observed, { pod, ending }: { pod: Pod; ending: ReturnType<typeof endingOf> }, now: number): Decision {
  const { job } = seen;
  const verdict = judge(job, pod, ending);
  const failure = failureOf(pod, ending, verdict, now);
  const message = failureMessage(failure);
  const figures = ending.words.progress ? foldProgress(job.status ?? {}, ending.words.progress, now) : {};
  if (verdict.action === 'Fail') {
    const reason = verdict.rule === 'UserError' ? (failure.code ? reasonOf(failure.code) : 'UserError') : 'MaxRestartsReached';
    const prefix = verdict.rule === 'MaxRestarts' ? `gave up after ${verdict.restarts} restarts (faults.maxRestarts): ` : '';
    return fail(
      seen,
      { reason, message: prefix + message, status: { ...figures, lastFailure: failure, restarts: verdict.restarts } },
      now,
    );
  }
  return {
    state: 'Restarting',
    conditions: [
      { type: 'Ready', status: 'False', reason: 'Restarting', message },
      { type: 'Reconciling', status: 'True', reason: 'Restarting' },
    ],
    status: {
      ...figures,
      attempt: (job.status?.attempt ?? 0) + 1,
      restarts: verdict.restarts,
      inPlaceRestarts: undefined,
      lastFailure: failure,
      nextRestartTime: verdict.delaySeconds === 0 ? undefined : isoTime(now + verdict.delaySeconds * 1000 + 999),
    },
    events: [
      { type: verdict.rule === 'Preempted' ? 'Normal' : 'Warning', reason: 'Restarting', action: 'Restart', note: message },
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
    ],
    status: { ...why.status, completionTime: isoTime(now), nextRestartTime: undefined },
    actions: runningPods(seen).map((pod) => ({ type: 'deletePod', pod })),
    events: [{ type: 'Warning', reason: 'Failed', action: 'Fail', note: message }],
  };
}

function publish(
  seen: Observed,
  published: NonNullable<ReturnType<typeof endingOf>['words']['published']>,
  modelsClaim: string,
): Decision {
  const { job, model, versions } = seen;
  const action: Action = model
    ? { type: 'createVersion', version: newVersion(job, model, versions, published, modelsClaim) }
    : { type: 'createModel', model: newModel(job) };
  return {
    state: 'Running',
    conditions: [
      { type: 'Reconciling', status: 'True', reason: 'Publishing', message: `publishing to model ${job.spec.output.model}` },
    ],
    actions: [action],
  };
}

function complete(seen: Observed, version: ModelVersion, now: number): Decision {
  const message = `published ${version.metadata.name}`;
  const words = seen.pods.filter(isPodFinished).map((pod) => endingOf(pod).words);
  const last = words.find(({ published, progress }) => published !== undefined && progress !== undefined);
  const used = (seen.job.status?.restarts ?? 0) - (seen.job.status?.inPlaceRestarts ?? 0);
  const inPlace = last?.restarts ?? seen.job.status?.inPlaceRestarts ?? 0;
  const figures = last?.progress ? foldProgress(seen.job.status ?? {}, last.progress, now) : {};
  const { phase: _, phaseShare: __, etaSeconds: ___, ...progress } = figures.progress ?? seen.job.status?.progress ?? {};
  return {
    state: 'Succeeded',
    conditions: [
      { type: 'Complete', status: 'True', reason: 'Published', message },
      { type: 'Ready', status: 'True', reason: 'Complete', message },
      { type: 'Reconciling', status: 'False', reason: 'Complete' },
    ],
    status: {
      modelVersion: version.metadata.name,
      completionTime: isoTime(now),
      nextRestartTime: undefined,
      restarts: used + inPlace,
      inPlaceRestarts: inPlace,
      ...figures,
      progress,
    },
    events: [{ type: 'Normal', reason: 'Complete', action: 'Publish', note: message }],
  };
}

function suspend(seen: Observed): Decision {
  const going = seen.pods.length > 0;
  const message = going ? 'the pods save a checkpoint and end' : 'spec.suspend is true; set it to false to go on';
  return {
    state: 'Suspended',
    conditions: [
      { type: 'Suspended', status: 'True', reason: 'Suspended', message },
      { type: 'Ready', status: 'False', reason: 'Suspended', message },
      { type: 'Reconciling', status: going ? 'True' : 'False', reason: 'Suspended' },
    ],
    status: { startTime: undefined, nextRestartTime: undefined },
    actions: seen.pods.filter((pod) => pod.metadata.deletionTimestamp === undefined).map((pod) => ({ type: 'deletePod', pod })),
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

function noLongerSuspended(job: TrainingJob): ConditionChange[] {
  if (!isConditionTrue(job, 'Suspended')) return [];
  return [{ type: 'Suspended', status: 'False', reason: 'Resumed' }];
}

function earliest(times: readonly (number | undefined | false)[]): number | undefined {
  const known = times.filter((time) => typeof time === 'number');
  return known.length === 0 ? undefined : Math.min(...known);
}

/** WL_DATA_EMPTY becomes DataEmpty: a reason is one CamelCase word. */
function reasonOf(code: string): string {
  return code
    .replace(/^WL_/, '')
    .toLowerCase()
    .replace(/(^|_)([a-z])/g, (_, __, letter: string) => letter.toUpperCase());
}
