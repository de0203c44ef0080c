// What a TrainingJob needs while nothing is wrong: pods that are missing, and news of those that run.
import { isConditionTrue } from '#crds/conditions.ts';
import type { ConditionChange } from '#crds/conditions.ts';
import type { TrainingJob, TrainingJobStatus } from '#crds/v1alpha1/index.ts';
import type { Happening } from '#operator/framework/event-recorder.ts';
import { isoTime } from '#operator/kube/clock.ts';
import { isPodFinished, isPodReady } from '#operator/kube/core.ts';
import type { Pod } from '#operator/kube/core.ts';
import type { ProgressReport } from '#runtime/api/messages.ts';
import { troubleOf } from '../pod-ending.ts';
import type { Action, Decision, Observed } from './decision.ts';
import { faultOf } from './fault.ts';
import type { Gang } from './gang.ts';
import { attemptOf, fewestRanks, podsOf, secretOf, workerName, workerPod, workersService } from './pods.ts';
import { failureMessage } from './recovery.ts';
import { foldReport, progressDueIn } from './status.ts';

interface Waits {
  /** When the job must have ended. */
  deadline: number | undefined;
  /** Milliseconds until it is clear what the end of a pod means. */
  settlingMs: number | undefined;
}

export function run(seen: Observed, { current }: Gang, now: number, waits: Waits): Decision {
  const { job, pods, report, service } = seen;
  const status = job.status ?? {};
  const attempt = status.attempt ?? 0;
  const leaves = (pod: Pod) => attemptOf(pod) !== attempt || status.replacing?.includes(pod.metadata.uid ?? '') === true;
  const leaving = pods.filter(leaves);
  const startTime = status.startTime ?? isoTime(now);
  const actions: Action[] = leaving
    .filter((pod) => pod.metadata.deletionTimestamp === undefined)
    .map((pod) => ({ type: 'deletePod', pod }));
  const events: Happening[] = [];
  const waitMs = status.nextRestartTime === undefined ? 0 : Math.max(0, Date.parse(status.nextRestartTime) - now);
  const isClear = !pods.some((pod) => attemptOf(pod) !== attempt || pod.metadata.deletionTimestamp !== undefined);
  if (isClear && waitMs === 0) {
    if (podsOf(job) > 1 && !service) actions.push({ type: 'createService', service: workersService(job) });
    for (const pod of missingPods(seen, attempt)) {
      actions.push({ type: 'createPod', pod });
      const note = `made pod ${pod.metadata.name}, attempt ${attempt}`;
      events.push({ type: 'Normal', reason: 'PodCreated', action: 'CreatePod', note });
    }
  }
  const ready = current.filter((pod) => isPodReady(pod) && !isPodFinished(pod)).length;
  const running = ready >= fewestRanks(job);
  const live = running && isNews(job, report, attempt) ? report : undefined;
  const dueMs = progressDueIn(status, now);
  const fault = live && dueMs === 0 ? faultOf(live, status.lastFailure) : undefined;
  if (fault) events.push({ type: 'Warning', reason: 'RestartedInPlace', action: 'Restart', note: fault.message ?? '' });
  const untilDeadline =
    waits.deadline ?? (job.spec.activeDeadlineSeconds === undefined ? undefined : now + job.spec.activeDeadlineSeconds * 1000);
  const wakeUps = [
    waitMs || undefined,
    waits.settlingMs,
    live && dueMs > 0 ? dueMs : undefined,
    untilDeadline && untilDeadline - now,
  ];
  return {
    state: running ? 'Running' : isRestart(job.status) ? 'Restarting' : 'Starting',
    conditions: [...runConditions(job, current, running ? ready : 0, waitMs), ...noLongerSuspended(job)],
    status: {
      startTime,
      ...(waitMs === 0 ? { nextRestartTime: undefined } : {}),
      replacing: remaining(status.replacing, pods),
      ...(live && dueMs === 0 ? foldReport(status, live, now) : {}),
      ...(fault ? { lastFailure: fault } : {}),
    },
    actions,
    events,
    requeueAfterMs: earliest(wakeUps),
  };
}

/** Pods of the attempt that are not there under their name, not even as one that leaves. */
function missingPods({ job, pods, freshSecret, builtin: { bus } }: Observed, attempt: number): Pod[] {
  const status = job.status ?? {};
  const used = (status.restarts ?? 0) - (status.inPlaceRestarts ?? 0);
  const restartsLeft = Math.max(0, job.spec.faults.maxRestarts - used);
  const names = new Set(pods.map((pod) => pod.metadata.name));
  const secret = pods
    .filter((pod) => attemptOf(pod) === attempt)
    .map(secretOf)
    .find((known) => known !== undefined);
  const ranks = Array.from({ length: podsOf(job) }, (_, rank) => rank).filter((rank) => !names.has(workerName(job, rank)));
  return ranks.map((rank) =>
    workerPod(job, status.effective!, { rank, attempt, restartsLeft, secret: secret ?? freshSecret, bus }),
  );
}

/** Of the pods that make room, those that are still there. */
export function remaining(replacing: readonly string[] | undefined, pods: readonly Pod[]): string[] | undefined {
  const left = (replacing ?? []).filter((uid) => pods.some((pod) => pod.metadata.uid === uid));
  return left.length === 0 ? undefined : left;
}

/** Whether pods that come up now do so after a fault. */
function isRestart(status: TrainingJobStatus | undefined): boolean {
  const { attempt = 0, lastFailure } = status ?? {};
  return attempt > 0 || lastFailure !== undefined;
}

/** Whether a report is of this attempt, and later than what the status shows and than the newest pod that was replaced. */
function isNews(job: TrainingJob, report: ProgressReport | undefined, attempt: number): boolean {
  if (report?.uid !== job.metadata.uid || report?.attempt !== attempt) return false;
  const { progress, lastFailure } = job.status ?? {};
  const replaced = lastFailure?.action === 'Replace' && lastFailure.attempt === attempt ? lastFailure.time : undefined;
  return [progress?.time, replaced].every((time) => time === undefined || Date.parse(report.time) > Date.parse(time));
}

/** `running`: pods that are ready, if they are enough. */
function runConditions(job: TrainingJob, current: readonly Pod[], running: number, waitMs: number): ConditionChange[] {
  if (running > 0) {
    const message =
      running === podsOf(job) ? 'all ranks run' : `${running} of ${podsOf(job)} pods are there; the job goes on with them`;
    return [
      { type: 'Ready', status: 'True', reason: 'Running', message },
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
  const { lastFailure, restarts, nextRestartTime } = job.status ?? {};
  if (!lastFailure) {
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

export function noLongerSuspended(job: TrainingJob): ConditionChange[] {
  if (!isConditionTrue(job, 'Suspended')) return [];
  return [{ type: 'Suspended', status: 'False', reason: 'Resumed' }];
}

function earliest(times: readonly (number | undefined | false)[]): number | undefined {
  const known = times.filter((time) => typeof time === 'number');
  return known.length === 0 ? undefined : Math.min(...known);
}
