// The kinds of windlass.dev/v1alpha1.
import type { Resource } from '../resource.ts';
import { InferenceService } from './inference-service.ts';
import { Model, ModelVersion } from './model.ts';
import { TrainingJob } from './training-job.ts';
import { ClusterTrainingRuntime, TrainingRuntime } from './training-runtime.ts';

export { InferenceService, InferenceServiceStatus } from './inference-service.ts';
export { Model, ModelStatus, ModelVersion, ModelVersionStatus } from './model.ts';
export { TrainingJob } from './training-job.ts';
export type { FaultAction, FaultReason, FaultRule } from './fault-rules.ts';
export { ranksIn } from './parallelism.ts';
export { TrainingJobStatus } from './training-job-status.ts';
export type { PodFailure, TrainingProgress } from './training-job-status.ts';
export { ClusterTrainingRuntime, TrainingRuntime } from './training-runtime.ts';
export type { PodTemplate, RuntimeReference } from './pod-template.ts';
export { Effective } from './effective.ts';
export type { PodSet } from './pod-sets.ts';
export type { Scheduling } from './scheduling.ts';

/** All kinds of the group. */
export const resources: readonly Resource[] = [
  TrainingJob,
  InferenceService,
  Model,
  ModelVersion,
  TrainingRuntime,
  ClusterTrainingRuntime,
];
