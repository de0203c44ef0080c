// How far a rollout is, when it last went on, and when it counts as stuck.
import type { InferenceServiceStatus } from '#crds/v1alpha1/index.ts';
import { isoTime } from '#operator/kube/clock.ts';

export type Rollout = NonNullable<InferenceServiceStatus['rollout']>;

/** The rollout as it is now. It goes on when it begins, when it has another goal, and when another pod became ready. */
export function rolloutOf(before: Rollout | undefined, now: Omit<Rollout, 'progressTime'>, time: number): Rollout {
  const isSame = before?.revision === now.revision && before.replicas === now.replicas;
  const hasWaited = before !== undefined && before.readyReplicas < before.replicas;
  const wentOn = !isSame || !hasWaited || now.readyReplicas > before.readyReplicas;
  return { ...now, progressTime: wentOn ? isoTime(time) : before.progressTime };
}

/** Milliseconds until the rollout counts as stuck; 0 when it does. Undefined once all pods of it answer. */
export function timeLeft(
  { replicas, readyReplicas, progressTime }: Rollout,
  deadlineSeconds: number,
  now: number,
): number | undefined {
  if (readyReplicas >= replicas) return undefined;
  return Math.max(0, Date.parse(progressTime) + deadlineSeconds * 1000 - now);
}
