// What a TrainingJob needs while nothing is wrong: pods that are missing, and news of those that run.
import { isConditionTrue } from '#crds/conditions.ts';
import type { ConditionChange } from '#crds/conditions.ts';
import type { TrainingJob, TrainingJobStatus } from '#crds/v1alpha1/index.ts';
import type { Happening } from '#operator/framework/event-recorder.ts';
import { isoTime } from '#operator/kube/clock.ts';
import { isPodFinished, isPodReady } from '#operator/kube/core.ts';
import type { Pod } from '#operator/kube/core.ts';
import type { ProgressReport } from '#runtime/api/messages.ts';
import { troubleOf } from '../pod-trouble.ts';
import { troubles } from '../reasons.ts';
import type { Action, Decision, Observed } from './decision.ts';
import { faultOf } from './fault.ts';
import type { Gang } from './gang.ts';
import { groupingOf, groupTrouble } from './pod-group.ts';
import type { Grouping } from './pod-group.ts';
import { attemptOf, fewestRanks, podsOf, secretOf, workerName, workerPod, workersService } from './pods.ts';
import { failureMessage } from './failure.ts';
import { removals } from './removal.ts';
import { isReplacement } from './restarts.ts';
import { foldReport, progressDueIn } from './status.ts';

interface Waits {
  /** When the job must have ended. */
  deadline: number | undefined;
  /** Milliseconds until it is clear what the end of a pod means. */
  settlingMs: number | undefined;
  /** Milliseconds until a rule's patience with a pod that does not come up is over. */
  ruleMs: number | undefined;
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
  const removal = removals(pods, now, seen.removeAfterMs);
  actions.push(...removal.actions);
  const events: Happening[] = removal.actions.flatMap((action) => (action.type === 'removePod' ? [removed(action.pod)] : []));
  const waitMs = status.nextRestartTime === undefined ? 0 : Math.max(0, Date.parse(status.nextRestartTime) - now);
  const isClear = !pods.some((pod) => attemptOf(pod) !== attempt || pod.metadata.deletionTimestamp !== undefined);
  const grouping = groupingOf(seen, attempt);
  actions.push(...grouping.actions);
  if (isClear && waitMs === 0 && !grouping.waits) {
    if (podsOf(job) > 1 && !service) actions.push({ type: 'createService', service: workersService(job) });
    for (const pod of missingPods(seen, attempt, grouping.name)) {
      actions.push({ type: 'createPod', pod });
      const note = `made pod ${pod.metadata.name}, attempt ${attempt}`;
      events.push({ type: 'Normal', reason: 'PodCreated', action: 'CreatePod', note });
    }
  }
  const ready = current.filter((pod) => isPodReady(pod) && !isPodFinished(pod)).length;
  const running = ready >= fewestRanks(job);
  const live = running && isNews(job, report, attempt) ? report : undefined;
  const fault = live && faultOf(live, status.lastFailure, pods);
  const dueMs = fault ? 0 : progressDueIn(status, now);
  if (fault) events.push({ type: 'Warning', reason: 'RestartedInPlace', action: 'Restart', note: fault.message ?? '' });
  const untilDeadline =
    waits.deadline ?? (job.spec.activeDeadlineSeconds === undefined ? undefined : now + job.spec.activeDeadlineSeconds * 1000);
  const wakeUps = [
    waitMs || undefined,
    waits.settlingMs,
    waits.ruleMs,
    removal.dueMs,
    live && dueMs > 0 ? dueMs : undefined,
    untilDeadline && untilDeadline - now,
  ];
  const held = grouping.waits && { ...grouping.waits, stalls: false };
  const trouble = running ? undefined : (held ?? troubleIn(pods, current, seen, now));
  const first = held || (trouble && waitsForRoom.has(trouble.reason)) ? 'Pending' : 'Starting';
  return {
    state: running ? 'Running' : isRestart(job.status) ? 'Restarting' : first,
    conditions: [...runConditions(job, running ? ready : 0, trouble, waitMs), ...grouping.conditions, ...noLongerSuspended(job)],
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
function missingPods({ job, pods, freshSecret, builtin: { bus } }: Observed, attempt: number, group: string | undefined): Pod[] {
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
    workerPod(job, status.effective!, {
      rank,
      attempt,
      restartsLeft,
      secret: secret ?? freshSecret,
      bus,
      group,
      excludedNodes: status.excludedNodes,
    }),
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
  const replaced = lastFailure && isReplacement(lastFailure, attempt) ? lastFailure.time : undefined;
  return [progress?.time, replaced].every((time) => time === undefined || Date.parse(report.time) > Date.parse(time));
}

interface Obstacle {
  reason: string;
  message: string;
  stalls: boolean;
}

/** Pods of which no container has been started, for want of room. */
const waitsForRoom = new Set(['Unschedulable', 'VolumeClaimMissing', 'VolumeClaimPending']);

/** What keeps the pods from running, where somebody says so. A pod that does not go comes first: its successor waits for it. */
function troubleIn(
  pods: readonly Pod[],
  current: readonly Pod[],
  seen: Observed,
  now: number,
): Obstacle | undefined {
  const late = pods.find(
    ({ metadata: { deletionTimestamp } }) => deletionTimestamp !== undefined && Date.parse(deletionTimestamp) <= now,
  );
  if (!late) {
    const ofGang = groupTrouble(seen, seen.job.status?.attempt ?? 0);
    if (ofGang) return { ...ofGang, stalls: false };
    return current
      .filter((pod) => !isPodFinished(pod))
      .map(troubleOf)
      .find((found) => found !== undefined);
  }
  const { dueMs = 0 } = removals([late], now, seen.removeAfterMs);
  const where = late.spec.nodeName === undefined ? '' : ` on node ${late.spec.nodeName}`;
  const message = `pod ${late.metadata.name}${where} does not end; it is removed at ${isoTime(now + dueMs)} if it is still there. ${troubles.PodTerminating.remedy}`;
  return { reason: 'PodTerminating', message, stalls: false };
}

function removed({ metadata: { name }, spec: { nodeName } }: Pod): Happening {
  const note = `removed pod ${name}, which did not end${nodeName === undefined ? '' : ` on node ${nodeName}`}`;
  return { type: 'Warning', reason: 'PodRemoved', action: 'RemovePod', note };
}

/** `running`: pods that are ready, if they are enough. */
function runConditions(job: TrainingJob, running: number, trouble: Obstacle | undefined, waitMs: number): ConditionChange[] {
  if (running > 0) {
    const message =
      running === podsOf(job) ? 'all ranks run' : `${running} of ${podsOf(job)} pods are there; the job goes on with them`;
    return [
      { type: 'Ready', status: 'True', reason: 'Running', message },
      { type: 'Reconciling', status: 'False', reason: 'Running' },
      { type: 'Stalled', status: 'False', reason: 'Running' },
    ];
  }
  if (trouble) {
    const { reason, message, stalls } = trouble;
    return [
      { type: 'Ready', status: 'False', reason, message },
      { type: 'Reconciling', status: stalls ? 'False' : 'True', reason, message },
      { type: 'Stalled', status: stalls ? 'True' : 'False', reason, message },
    ];
  }
  const { lastFailure, restarts, nextRestartTime } = job.status ?? {};
  const reason = lastFailure ? 'Restarting' : 'Starting';
  const free = lastFailure?.charged === false ? 'free of charge' : `${restarts} of ${job.spec.faults.maxRestarts}`;
  const when = waitMs > 0 ? `restart ${free} at ${nextRestartTime}` : 'the pods are starting again';
  const message = lastFailure ? `${when} after ${failureMessage(lastFailure)}` : 'the pods are starting';
  return [
    { type: 'Ready', status: 'False', reason, message },
    { type: 'Reconciling', status: 'True', reason },
    { type: 'Stalled', status: 'False', reason },
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
