// What the plan of a TrainingJob sees, and what it may decide.
import type { ConditionChange } from '#crds/conditions.ts';
import type { Model, ModelVersion, TrainingJob, TrainingJobStatus } from '#crds/v1alpha1/index.ts';
import type { Happening } from '#operator/framework/event-recorder.ts';
import type { Pod, Service } from '#operator/kube/core.ts';
import type { PodGroup } from '#operator/kube/pod-group.ts';
import type { ProgressReport, RankClock } from '#runtime/api/messages.ts';
import type { BuiltinSettings, Runtime } from '../effective.ts';

export interface Observed {
  job: TrainingJob;
  /** Pods that the job owns, of every attempt. */
  pods: readonly Pod[];
  /** Groups of pods that the job owns, of every attempt. */
  podGroups: readonly PodGroup[];
  /** Whether the cluster's scheduler takes groups; `unneeded` where there is no scheduler, and all pods start at once. */
  gangs: 'served' | 'absent' | 'unneeded';
  /** The Service of the job's pods, if it exists. */
  service: Service | undefined;
  /** The runtime that spec.runtimeRef names, if it exists. */
  runtime: Runtime | undefined;
  /** The model that spec.output names, if it exists. */
  model: Model | undefined;
  /** All versions of the namespace. */
  versions: readonly ModelVersion[];
  /** Newest report of the job's ranks. */
  report: ProgressReport | undefined;
  /** A secret that nobody knows yet: for the pods of an attempt that has none. */
  freshSecret: string;
  builtin: BuiltinSettings;
  /** Milliseconds after the end of its grace time at which a pod that does not go is removed by force. */
  removeAfterMs?: number | undefined;
}

export type Action =
  | { type: 'deletePodGroup'; group: PodGroup }
  | { type: 'createPodGroup'; group: PodGroup }
  | { type: 'createService'; service: Service }
  | { type: 'createPod'; pod: Pod }
  | { type: 'deletePod'; pod: Pod }
  /** Without waiting for its node. */
  | { type: 'removePod'; pod: Pod }
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
export interface Decision {
  /** What a rank has told of its time, where the status takes its figures over. */
  clock?: RankClock | undefined;
  state: NonNullable<TrainingJobStatus['state']>;
  conditions: ConditionChange[];
  status?: Partial<TrainingJobStatus>;
  actions?: Action[];
  events?: Happening[];
  requeueAfterMs?: number | undefined;
}
