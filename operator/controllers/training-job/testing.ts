// Observations of TrainingJobs for tests of the plan, and what a plan does in short words.
import type { Model, ModelVersion, TrainingJob, TrainingJobStatus } from '#crds/v1alpha1/index.ts';
import { isoTime } from '#operator/kube/clock.ts';
import type { Pod } from '#operator/kube/core.ts';
import type { TerminationMessage } from '#runtime/api/messages.ts';
import { effectiveOf } from '../effective.ts';
import { trainingJob } from '../fixtures.ts';
import { planTrainingJob } from './plan.ts';
import type { Observed, Plan } from './decision.ts';
import { workerPod } from './pods.ts';

export const now = Date.UTC(2026, 0, 1, 12);
const builtin = { image: 'windlass:1' };
export const effective = effectiveOf(undefined, builtin);

export function job(spec: object = {}, status: Partial<TrainingJobStatus> = { effective }): TrainingJob {
  const parsed = trainingJob('moby', spec);
  return { ...parsed, metadata: { ...parsed.metadata, uid: 'job-1', generation: 3 }, status };
}

export interface PodState {
  rank?: number;
  attempt?: number;
  phase?: 'Running' | 'Failed' | 'Succeeded';
  exitCode?: number;
  signal?: number;
  words?: TerminationMessage;
  reason?: string;
  deleting?: boolean;
  /** Seconds before now at which it ended. */
  endedAgo?: number;
}

/** A pod of a job, ready unless it ended. */
export function pod(state: PodState = {}, spec: object = {}): Pod {
  const { rank = 0, attempt = 0, phase = 'Running', exitCode, signal, words, reason, deleting, endedAgo } = state;
  const made = workerPod(job(spec), effective, { rank, attempt, restartsLeft: 3, secret: `secret ${attempt}` });
  const time = endedAgo === undefined ? {} : { finishedAt: new Date(now - endedAgo * 1000).toISOString() };
  const terminated =
    exitCode === undefined
      ? undefined
      : { exitCode, ...(signal ? { signal } : {}), ...time, message: JSON.stringify(words ?? {}) };
  const uid = rank === 0 ? `pod-${attempt}` : `pod-${attempt}-${rank}`;
  return {
    ...made,
    metadata: { ...made.metadata, uid, ...(deleting ? { deletionTimestamp: isoTime(now) } : {}) },
    spec: { ...made.spec, nodeName: 'node-1' },
    status: {
      phase,
      ...(reason ? { reason } : {}),
      conditions: [{ type: 'Ready', status: phase === 'Running' ? 'True' : 'False' }],
      containerStatuses: [
        { name: 'agent', ready: phase === 'Running', restartCount: 0, state: terminated ? { terminated } : { running: {} } },
      ],
    },
  };
}

const model = {
  apiVersion: 'windlass.dev/v1alpha1',
  kind: 'Model',
  metadata: { name: 'moby', uid: 'model-1' },
  spec: {},
} as Model;

export function plan(seen: Partial<Observed>): Plan {
  const nothing = {
    pods: [],
    podGroups: [],
    gangs: 'unneeded' as const,
    service: undefined,
    runtime: undefined,
    versions: [],
    report: undefined,
    freshSecret: 'fresh',
  };
  return planTrainingJob({ job: job(), model, builtin, ...nothing, ...seen }, now);
}

/** What a plan does, in short words. */
export function said({ actions, status, requeueAfterMs }: Plan) {
  return {
    actions: actions.map((action) => {
      if (action.type === 'createPod')
        return `create ${action.pod.metadata.name} attempt ${action.pod.metadata.labels?.['windlass.dev/attempt']}`;
      if (action.type === 'deletePod')
        return `delete ${action.pod.metadata.name} attempt ${action.pod.metadata.labels?.['windlass.dev/attempt']}`;
      if (action.type === 'createVersion') return `version ${action.version.metadata.name}`;
      if (action.type === 'createService') return `service ${action.service.metadata.name}`;
      return action.type;
    }),
    state: status.state,
    attempt: status.attempt,
    restarts: status.restarts,
    ...(requeueAfterMs === undefined ? {} : { requeueAfterMs }),
  };
}

export const conditions = ({ status }: Plan) =>
  Object.fromEntries((status.conditions ?? []).map(({ type, status, reason }) => [type, `${status} ${reason}`]));

export function version(name: string, number: number, uid = 'another'): ModelVersion {
  return {
    kind: 'ModelVersion',
    metadata: { name },
    spec: { model: 'moby', number, source: { job: 'x', uid, step: 1 } },
  } as ModelVersion;
}
