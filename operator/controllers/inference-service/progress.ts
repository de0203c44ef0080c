// How far a rollout is, when it last went on, and when it counts as stuck.
import type { InferenceServiceStatus } from '#crds/v1alpha1/index.ts';
import { isoTime } from '#operator/kube/clock.ts';

export type Rollout = NonNullable<InferenceServiceStatus['rollout']>;

/** The rollout as it is now. It goes on when it begins, when it has another goal, and when another pod was made or became ready. */
export function rolloutOf(
  before: Rollout | undefined,
  seen: Omit<Rollout, 'progressTime'> & { readonly madeReplicas: number },
  time: number,
): Rollout {
  const isSame = before?.revision === seen.revision && before.replicas === seen.replicas;
  if (!isSame) return { ...seen, progressTime: isoTime(time) };
  const { madeReplicas: made = 0 } = before;
  const isDone = seen.readyReplicas >= seen.replicas;
  if (before.readyReplicas >= before.replicas) return { ...seen, progressTime: isDone ? before.progressTime : isoTime(time) };
  // A pod that is made again and again is no progress.
  const wentOn = seen.readyReplicas > before.readyReplicas || seen.madeReplicas > made;
  const madeReplicas = Math.max(seen.madeReplicas, made);
  return { ...seen, madeReplicas, progressTime: wentOn ? isoTime(time) : before.progressTime };
}

/**
 * Milliseconds until the rollout counts as stuck; 0 when it does. Undefined once all pods of it answer. The time runs from `drainsUntil` on, if
 * pods have until then to make room.
 */
export function timeLeft(
  { replicas, readyReplicas, progressTime }: Rollout,
  deadlineSeconds: number,
  now: number,
  drainsUntil = 0,
): number | undefined {
  if (readyReplicas >= replicas) return undefined;
  return Math.max(0, Math.max(drainsUntil, Date.parse(progressTime)) + deadlineSeconds * 1000 - now);
}
