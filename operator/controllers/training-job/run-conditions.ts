// How a job that goes on says how it is: the word of the STATE column, and conditions with what keeps the pods from running.
import { isConditionTrue } from '#crds/conditions.ts';
import type { ConditionChange } from '#crds/conditions.ts';
import type { TrainingJob } from '#crds/v1alpha1/index.ts';
import { isoTime } from '#operator/kube/clock.ts';
import { isPodFinished, isPodReady } from '#operator/kube/core.ts';
import type { Pod } from '#operator/kube/core.ts';
import { ExitCode } from '#runtime/api/exit-codes.ts';
import { endingOf } from '../pod-ending.ts';
import { troubleOf } from '../pod-trouble.ts';
import type { Decision, Observed } from './decision.ts';
import { failureMessage } from './failure.ts';
import { groupTrouble } from './pod-group.ts';
import type { Grouping } from './pod-group.ts';
import { fewestRanks, podsOf } from './pods.ts';
import { removals } from './removal.ts';

interface Crew {
  /** Pods that are ready. */
  ready: number;
  /** Pods that have done their part, while others still work. */
  done: number;
  /** Whether they are enough. */
  running: boolean;
}

export function crewOf(job: TrainingJob, current: readonly Pod[]): Crew {
  const isReady = (pod: Pod) => isPodReady(pod) && !isPodFinished(pod);
  const ready = current.filter(isReady).length;
  // The kubelet changes the phase of a pod some time after it has told how its container ended.
  const done = current.filter((pod) => !isReady(pod) && endingOf(pod).exitCode === ExitCode.done).length;
  return { ready, done, running: ready + done > 0 && ready + done >= fewestRanks(job) };
}

interface Obstacle {
  reason: string;
  message: string;
  stalls: boolean;
}

/** Pods of which no container has been started, for want of room. */
export const waitsForRoom: ReadonlySet<string> = new Set([
  'Unschedulable',
  'VolumeClaimMissing',
  'VolumeClaimPending',
  'SchedulerError',
  'GangNotSupported',
  'PodGroupEnding',
]);

/** Pods that come up again after they ran are restarting, whatever keeps them. */
export function stateOf({ status }: TrainingJob, running: boolean, obstacle: Obstacle | undefined): Decision['state'] {
  if (running) return 'Running';
  if (status?.state === 'Running' || status?.state === 'Restarting') return 'Restarting';
  return obstacle && waitsForRoom.has(obstacle.reason) ? 'Pending' : 'Starting';
}

/**
 * What keeps the pods from running, where somebody says so. `waits`: why none may be made yet. A pod that does not go comes next: its successor
 * waits for it.
 */
export function obstacleOf(seen: Observed, current: readonly Pod[], waits: Grouping['waits'], now: number): Obstacle | undefined {
  const { job, pods, removeAfterMs } = seen;
  if (waits) return { ...waits, stalls: false };
  const late = pods.find(
    ({ metadata: { deletionTimestamp } }) => deletionTimestamp !== undefined && Date.parse(deletionTimestamp) <= now,
  );
  if (late) {
    const { dueMs = 0 } = removals([late], now, removeAfterMs);
    const where = late.spec.nodeName === undefined ? '' : ` on node ${late.spec.nodeName}`;
    const message = `pod ${late.metadata.name}${where} does not end, and its successor needs its name; it is removed by force at ${isoTime(now + dueMs)}. If it repeats, look at its node.`;
    return { reason: 'PodTerminating', message, stalls: false };
  }
  const ofGang = groupTrouble(seen, job.status?.attempt ?? 0);
  if (ofGang) return { ...ofGang, stalls: false };
  const trouble = current
    .filter((pod) => !isPodFinished(pod))
    .map(troubleOf)
    .find((found) => found !== undefined);
  const ended = current.find((pod) => isPodFinished(pod) && !job.status?.replacing?.includes(pod.metadata.uid ?? ''));
  if (trouble || !ended) return trouble;
  const message = `pod ${ended.metadata.name} ended; a moment shows whether the others follow it or can go on`;
  return { reason: 'PodEnded', message, stalls: false };
}

/** `waitMs`: until the next restart may be made. */
export function runConditions(
  job: TrainingJob,
  { ready, done, running }: Crew,
  obstacle: Obstacle | undefined,
  waitMs: number,
): ConditionChange[] {
  if (running) {
    const fewer = `${ready} of ${podsOf(job)} pods are there; the job goes on with them`;
    const message = done > 0 ? `${ready} ranks run, ${done} are done` : ready === podsOf(job) ? 'all ranks run' : fewer;
    return [
      { type: 'Ready', status: 'True', reason: 'Running', message },
      { type: 'Reconciling', status: 'False', reason: 'Running' },
      { type: 'Stalled', status: 'False', reason: 'Running' },
    ];
  }
  if (obstacle) {
    const { reason, message, stalls } = obstacle;
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

/** Of a job that was suspended before. */
export function noLongerSuspended(job: TrainingJob): ConditionChange[] {
  if (!isConditionTrue(job, 'Suspended')) return [];
  return [{ type: 'Suspended', status: 'False', reason: 'Resumed' }];
}
