// Names that objects carry: labels, annotations, finalizers, claims, paths in pods.

export const label = {
  managedBy: 'app.kubernetes.io/managed-by',
  /** Name of the TrainingJob that a pod or version belongs to. */
  job: 'windlass.dev/job',
  jobUid: 'windlass.dev/job-uid',
  attempt: 'windlass.dev/attempt',
  rank: 'windlass.dev/rank',
  /** Name of the InferenceService that a pod serves. */
  service: 'windlass.dev/service',
  /** Hash of everything that a serving pod is made from. */
  revision: 'windlass.dev/revision',
  /** Name of the Model that a version belongs to. */
  model: 'windlass.dev/model',
} as const;

export const annotation = {
  /** `true` on an object: its controller leaves it alone. */
  paused: 'windlass.dev/paused',
  /** When somebody asked for the pods of a job or service to be started again: each new value does it once. */
  restartRequestedAt: 'windlass.dev/restart-requested-at',
  /** On the first pods of a job: the settings that they were made from, as status.effective of the job shows them a moment later. */
  settings: 'windlass.dev/settings',
  /** On a serving pod: what it serves, as status.model.active shows it. */
  served: 'windlass.dev/served',
} as const;

export const managedBy = 'windlass';

/** What spec.managedBy of a job says when it is ours, as when it is absent. */
export const ownManager = 'windlass.dev/trainingjob-controller';

/** Claims that pods mount when no runtime names others, and where they are mounted. */
export const storage = {
  jobsClaim: 'windlass-jobs',
  jobsMount: '/windlass/jobs',
  modelsClaim: 'windlass-models',
  modelsMount: '/windlass/models',
  cacheMount: '/windlass/cache',
} as const;
