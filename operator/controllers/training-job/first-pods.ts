// The first pods of a job are made before its status is written, which costs the API server as much as three or four of them. Until then they
// carry the settings that they were made from, so that whoever goes on after a crash makes the others from the same.
import { annotation } from '#crds/names.ts';
import { Effective } from '#crds/v1alpha1/index.ts';
import type { TrainingJob, TrainingJobStatus } from '#crds/v1alpha1/index.ts';
import type { Pod } from '#operator/kube/core.ts';
import type { Action, Plan } from './decision.ts';

/** So long news of pods that come up waits for that of pods that run: mostly one write tells both. */
const startingMs = 1000;

/** Whether a plan makes the first pods of a job, and nothing has to be known before. */
export function makesFirstPods(before: TrainingJobStatus | undefined, { actions, status }: Plan): boolean {
  const kinds = new Set(actions.map(({ type }) => type));
  if (before?.effective !== undefined || status.attempt !== 0 || status.restarts !== 0) return false;
  return kinds.delete('createPod') && kinds.isSubsetOf(new Set(['createPodGroup', 'createService']));
}

/** The action, with a pod that carries the settings. */
export function withSettings(action: Action, settings: Effective | undefined): Action {
  if (action.type !== 'createPod') return action;
  const { metadata } = action.pod;
  const annotations = { ...metadata.annotations, [annotation.settings]: JSON.stringify(settings) };
  return { type: 'createPod', pod: { ...action.pod, metadata: { ...metadata, annotations } } };
}

/** What pods were made from whose job has not written it down yet. */
export function settingsOf(pods: readonly Pod[]): Effective | undefined {
  for (const { metadata } of pods) {
    const text = metadata.annotations?.[annotation.settings];
    const settings = text === undefined ? undefined : parsed(text);
    if (settings) return settings;
  }
  return undefined;
}

function parsed(text: string): Effective | undefined {
  try {
    return Effective.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

interface Draft {
  readonly uid: string | undefined;
  readonly status: TrainingJobStatus;
  /** When it was first decided. */
  readonly since: number;
}

/** First statuses that are decided but not written. What is forgotten with the process is decided anew. */
export class Drafts {
  readonly #drafts = new Map<string, Draft>();

  /** The job as it would be if its status were written. */
  over(key: string, job: TrainingJob): TrainingJob {
    const draft = this.#drafts.get(key);
    if (draft && draft.uid === job.metadata.uid && job.status?.effective === undefined) return { ...job, status: draft.status };
    this.#drafts.delete(key);
    return job;
  }

  /** Takes a status that was decided now; gives the milliseconds until it must be written. */
  keep(key: string, { metadata: { uid } }: TrainingJob, status: TrainingJobStatus, now: number): number {
    const since = this.#drafts.get(key)?.since ?? now;
    this.#drafts.set(key, { uid, status, since });
    const isComingUp = status.state === 'Starting' || status.state === 'Pending';
    return isComingUp ? Math.max(0, since + startingMs - now) : 0;
  }

  forget(key: string): void {
    this.#drafts.delete(key);
  }
}
