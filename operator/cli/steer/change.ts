// What pausing, resuming and restarting mean for an object: the change to it, what to say, and when it is done. Pure.
import { isConditionTrue } from '#crds/conditions.ts';
import { annotation } from '#crds/names.ts';
import { TrainingJob } from '#crds/v1alpha1/index.ts';
import type { InferenceService } from '#crds/v1alpha1/index.ts';
import { isPodReady } from '#operator/kube/core.ts';
import type { Pod } from '#operator/kube/core.ts';
import { WindlassError } from '#runtime/api/errors.ts';
import { wordOf } from '../target/references.ts';

export type Verb = 'pause' | 'resume' | 'restart';
export type Steered = TrainingJob | InferenceService;

export interface Change {
  /** Merge patch; undefined if the object is that way already. */
  readonly patch?: object | undefined;
  /** For people: what happens now. */
  readonly words: string;
  /** Whether it has happened. `pods` are those of the object now. */
  readonly isDone: (object: Steered, pods: readonly Pod[]) => boolean;
}

/** `pods` are those of the object now; `time` names a new request for a restart. Throws WL_HAS_ENDED. */
export function changeFor(verb: Verb, object: Steered, pods: readonly Pod[], time: string): Change {
  if (object.kind === TrainingJob.kind) return jobChange(verb, object as TrainingJob, time);
  return serviceChange(verb, object as InferenceService, pods, time);
}

/** Throws WL_HAS_ENDED if it is a job that no verb can move any more. */
export function refuseIfEnded(object: Steered, verb: Verb): void {
  const end = ['Complete', 'Failed'].find((type) => isConditionTrue(object, type as 'Complete' | 'Failed'));
  if (end === undefined) return;
  const how = end === 'Failed' ? 'has failed' : 'has succeeded';
  throw new WindlassError('WL_HAS_ENDED', `${wordOf(object)} ${how}: there is nothing to ${verb}`);
}

function jobChange(verb: Verb, job: TrainingJob, time: string): Change {
  refuseIfEnded(job, verb);
  const who = wordOf(job);
  const left = isLeftAlone(job);
  if (verb === 'pause') {
    const isDone = ({ status, metadata: { generation } }: Steered) =>
      isConditionTrue({ status }, 'Suspended') &&
      !isConditionTrue({ status }, 'Reconciling') &&
      (status?.observedGeneration ?? 0) >= (generation ?? 0);
    if (job.spec.suspend) return { words: `${who} is paused already`, isDone };
    return {
      patch: { spec: { suspend: true } },
      words: `${who} pauses: its ranks save a checkpoint and end; resume goes on from it`,
      isDone,
    };
  }
  const isDone = ({ status }: Steered) => isRunning(status) && !isConditionTrue({ status }, 'Suspended');
  if (verb === 'resume') {
    if (!job.spec.suspend && !left) return { words: `${who} is not paused`, isDone };
    return {
      patch: { ...(left ? withoutPause : {}), spec: { suspend: false } },
      words: `${who} goes on from its last checkpoint`,
      isDone,
    };
  }
  const asked = job.metadata.annotations?.[annotation.restartRequestedAt];
  const isOpen = asked !== undefined && asked !== job.status?.restartRequest;
  const request = isOpen ? asked : time;
  const isRestarted = ({ status }: Steered) => (status as TrainingJob['status'])?.restartRequest === request && isRunning(status);
  if (job.spec.suspend) return { words: `${who} is paused; resume starts all of its pods anew`, isDone: () => true };
  if (isOpen) return { words: `${who} was asked to restart at ${asked}, and has not begun yet`, isDone: isRestarted };
  return {
    patch: { metadata: { annotations: { [annotation.restartRequestedAt]: request } } },
    words: `${who} restarts: its ranks save a checkpoint, and all of its pods are made again; this counts against no budget`,
    isDone: isRestarted,
  };
}

function serviceChange(verb: Verb, service: InferenceService, pods: readonly Pod[], time: string): Change {
  const who = wordOf(service);
  const left = isLeftAlone(service);
  if (verb === 'pause') {
    if (left) return { words: `${who} is paused already`, isDone: () => true };
    return {
      patch: { metadata: { annotations: { [annotation.paused]: 'true' } } },
      words:
        `${who} is paused: what serves goes on serving, but is neither updated nor scaled nor replaced; ` +
        `to stop serving: kubectl scale ${who} --replicas=0`,
      isDone: () => true,
    };
  }
  const isSettled = (object: Steered) => isConditionTrue(object, 'Ready') && !isConditionTrue(object, 'Reconciling');
  if (verb === 'resume') {
    if (!left) return { words: `${who} is not paused`, isDone: isSettled };
    return { patch: withoutPause, words: `${who} is updated, scaled and replaced again`, isDone: isSettled };
  }
  const before = new Set(pods.map(({ metadata }) => metadata.uid));
  const isRolled = (object: Steered, now: readonly Pod[]) =>
    !now.some(({ metadata }) => before.has(metadata.uid)) &&
    now.filter(isPodReady).length >= (object as InferenceService).spec.replicas;
  if (left) return { words: `${who} is paused; resume it first`, isDone: () => true };
  return {
    patch: { metadata: { annotations: { [annotation.restartRequestedAt]: time } } },
    words: `${who} restarts: new pods come up before the old ones go`,
    isDone: isRolled,
  };
}

const withoutPause = { metadata: { annotations: { [annotation.paused]: null } } };

function isLeftAlone({ metadata: { annotations } }: Steered): boolean {
  return annotations?.[annotation.paused] === 'true';
}

function isRunning(status: Steered['status']): boolean {
  const { state } = (status ?? {}) as { state?: string };
  return state === 'Running' || state === 'Succeeded';
}
