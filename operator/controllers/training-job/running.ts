// What a TrainingJob needs while nothing is wrong: pods that are missing, and news of those that run.
import type { TrainingJob } from '#crds/v1alpha1/index.ts';
import type { Happening } from '#operator/framework/event-recorder.ts';
import { isoTime } from '#operator/kube/clock.ts';
import type { Pod } from '#operator/kube/core.ts';
import type { ProgressReport } from '#runtime/api/messages.ts';
import type { Action, Decision, Observed } from './decision.ts';
import { faultOf } from './fault.ts';
import type { Gang } from './gang.ts';
import { groupingOf } from './pod-group.ts';
import { attemptOf, podsOf, secretOf, workerName, workerPod, workersService } from './pods.ts';
import { removals } from './removal.ts';
import { isReplacement } from './restarts.ts';
import { crewOf, noLongerSuspended, obstacleOf, runConditions, stateOf } from './run-conditions.ts';
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
    if (podsOf(job) > 1 && !service && lookForPeers(seen)) actions.push({ type: 'createService', service: workersService(job) });
    const missing = missingPods(seen, attempt, grouping.name);
    actions.push(...missing.map((pod) => ({ type: 'createPod', pod }) as const));
    if (missing.length > 0) events.push(podsCreated(missing, attempt));
  }
  const crew = crewOf(job, current);
  const { running } = crew;
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
  const obstacle = running ? undefined : obstacleOf(seen, current, grouping.waits, now);
  return {
    state: stateOf(job, running, obstacle),
    conditions: [...runConditions(job, crew, obstacle, waitMs), ...grouping.conditions, ...noLongerSuspended(job)],
    status: {
      startTime,
      ...(waitMs === 0 ? { nextRestartTime: undefined } : {}),
      replacing: remaining(status.replacing, pods),
      ...(live && dueMs === 0 ? foldReport(status, live, now) : {}),
      ...(fault ? { lastFailure: fault } : {}),
    },
    actions,
    events,
    clock: dueMs === 0 ? live?.progress.clock : undefined,
    requeueAfterMs: earliest(wakeUps),
  };
}

/** Milliseconds until the status may take a report over: figures wait their turn, a fault does not. */
export function newsDueIn({ status = {} }: TrainingJob, report: ProgressReport | undefined, now: number): number {
  return report && faultOf(report, status.lastFailure) ? 0 : progressDueIn(status, now);
}

/** Pods of the attempt that are not there under their name, not even as one that leaves. */
function missingPods(
  { job, pods, freshSecret, builtin: { bus, credentials } }: Observed,
  attempt: number,
  group: string | undefined,
): Pod[] {
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
      credentials,
      group,
      excludedNodes: status.excludedNodes,
    }),
  );
}

/**
 * Whether pods may soon look each other up. A Service that is there while they are placed makes the scheduler weigh how they are spread
 * (docs/performance.md).
 */
function lookForPeers({ job, pods, gangs }: Observed): boolean {
  const placed = pods.filter(({ spec }) => spec.nodeName !== undefined);
  return gangs === 'unneeded' || placed.length >= podsOf(job) || pods.some(({ status }) => status?.podIP !== undefined);
}

/** One event for all of them: an event is a write, as a pod is. */
function podsCreated(pods: readonly Pod[], attempt: number): Happening {
  const [first, last] = [pods[0]!.metadata.name, pods.at(-1)!.metadata.name];
  const made = pods.length === 1 ? `pod ${first}` : `${pods.length} pods, ${first} to ${last}`;
  return { type: 'Normal', reason: 'PodCreated', action: 'CreatePod', note: `made ${made}, attempt ${attempt}` };
}

/** Of the pods that make room, those that are still there. */
export function remaining(replacing: readonly string[] | undefined, pods: readonly Pod[]): string[] | undefined {
  const left = (replacing ?? []).filter((uid) => pods.some((pod) => pod.metadata.uid === uid));
  return left.length === 0 ? undefined : left;
}

/** Whether a report is of this attempt, and later than what the status shows and than the newest pod that was replaced. */
export function isNews(job: TrainingJob, report: ProgressReport | undefined, attempt: number): boolean {
  if (report?.uid !== job.metadata.uid || report?.attempt !== attempt) return false;
  const { progress, lastFailure } = job.status ?? {};
  const replaced = lastFailure && isReplacement(lastFailure, attempt) ? lastFailure.time : undefined;
  return [progress?.time, replaced].every((time) => time === undefined || Date.parse(report.time) > Date.parse(time));
}

function removed({ metadata: { name }, spec: { nodeName } }: Pod): Happening {
  const note = `removed pod ${name}, which did not end${nodeName === undefined ? '' : ` on node ${nodeName}`}`;
  return { type: 'Warning', reason: 'PodRemoved', action: 'RemovePod', note };
}

function earliest(times: readonly (number | undefined | false)[]): number | undefined {
  const known = times.filter((time) => typeof time === 'number');
  return known.length === 0 ? undefined : Math.min(...known);
}
