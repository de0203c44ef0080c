// The words of states, condition reasons and rules, each with what it means and what to do about it, besides those of controllers/reasons.ts.

export interface Term {
  readonly means: string;
  /** Absent where nothing is to be done. */
  readonly advice?: string;
}

export const terms = {
  Pending: { means: 'The job was just created: its settings are being read.' },
  Starting: {
    means: 'Pods are being made, scheduled and started.',
    advice: 'Nothing for a minute or two; then `windlass status KIND/NAME` shows which pod waits, and for what.',
  },
  Running: { means: 'All ranks that the job needs run.' },
  Restarting: {
    means: 'Pods ended before the job was done, and are made again: the job goes on from its last checkpoint.',
    advice: 'status.lastFailure names rank, cause and remedy; after faults.maxRestarts of them the job fails.',
  },
  RestartRequested: {
    means: 'Somebody asked for a restart. The ranks save a checkpoint, and all pods are made again, free of charge.',
  },
  RestartedInPlace: { means: 'The agents started the ranks again after a fault of one of them; no pod was changed.' },
  Suspended: {
    means: 'spec.suspend is true: the ranks have saved a checkpoint and ended.',
    advice: '`windlass resume NAME` lets the job go on.',
  },
  Resumed: { means: 'The job goes on after a suspension.' },
  Publishing: { means: 'Training is done; its result becomes a version of the model.' },
  Published: { means: 'The job is done: its result is a ModelVersion.' },
  Complete: { means: 'The job is done: its result is a ModelVersion.' },
  Succeeded: { means: 'The job is done: its result is a ModelVersion.' },
  Failed: {
    means: 'The job, or the newest target of a service, has failed for good.',
    advice: 'status.lastFailure names the cause and the remedy; `windlass logs NAME` has the whole log.',
  },
  MaxRestarts: {
    means: 'The rule that failed the job: it had no restart of faults.maxRestarts left.',
    advice: 'See MaxRestartsReached.',
  },
  UserError: {
    means: 'A rank ended with exit code 64: the job can not work as it is written, and trying again would not help.',
    advice: 'The code of status.lastFailure says what to mend.',
  },
  Retryable: {
    means: 'The rule that started pods again: the end was of a kind that may pass. It counts against faults.maxRestarts.',
  },
  NothingPublished: {
    means:
      'The rule that started pods again: a rank ended as if it were done, and left no model. It counts against faults.maxRestarts.',
  },
  Disruption: { means: 'Kubernetes took a pod away (eviction, drain, a node that went). It counts against no budget.' },
  Followed: { means: 'A pod ended because of another one, which names the cause. It counts against no budget.' },
  SameFault: { means: 'A pod ended of a cause that is counted already.' },
  InPlace: { means: 'The agents have started the ranks again themselves.' },
  PodsNotReady: { means: 'Pods exist and do not run yet.', advice: 'The Ready condition names the pod and what it waits for.' },
  Draining: {
    means: 'With DrainFirst a pod of the service finishes what it has begun and ends, before another one starts in its room.',
    advice: 'The Ready condition names the pod and when its time is over (spec.drain).',
  },
  PodsStarting: { means: 'Pods of the service are starting.' },
  Progressing: { means: 'Nothing keeps the service from its target.' },
  ImagePullBackOff: {
    means: 'A node can not pull the image.',
    advice: 'Check the name of the image in the runtime or the chart, and the pull secrets of the namespace.',
  },
  ErrImagePull: { means: 'A node could not pull the image.', advice: 'See ImagePullBackOff.' },
  PodEnded: { means: 'A pod ended; a moment shows whether the others follow it, or go on.' },
  PodRemoved: { means: 'A pod that did not end was removed by force.', advice: 'If it repeats, look at the node named.' },
  Placed: { means: 'The scheduler has placed all pods of the gang.' },
  NotAsked: { means: 'The pods are placed one by one: the job is no gang, or does not ask to be placed as one.' },
  NotSupportedByCluster: {
    means: 'The cluster lacks the PodGroup API, so that pods are placed one by one: jobs that wait for each other can block.',
    advice: 'Turn gang scheduling on in the cluster, or let few jobs run at a time.',
  },
  GangNotSupported: {
    means: 'The job demands to be placed as a gang, and the cluster lacks the PodGroup API.',
    advice: 'Turn gang scheduling on in the cluster, or take spec.scheduling.schedulingPolicy.gang out.',
  },
  PodGroupEnding: { means: 'The PodGroup of an earlier attempt has to go before the next pods are made.' },
  TopologyIgnored: { means: 'The pods are placed as a whole, but anywhere: the cluster leaves schedulingConstraints out.' },
  ProgressDeadlineExceeded: {
    means:
      'No further pod of a rollout became ready within spec.rollout.progressDeadlineSeconds; what served before goes on serving.',
    advice: 'The message names what keeps the pods; `windlass logs NAME` shows what they say.',
  },
  NameTaken: {
    means: 'A Service of the name exists and belongs to somebody else.',
    advice: 'Delete it, or rename the InferenceService.',
  },
  ModelNotReady: {
    means: 'The model or version to be served does not exist yet, or is not ready.',
    advice: 'It is served as soon as it is published.',
  },
  NoVersion: { means: 'The model has no version yet.', advice: 'A TrainingJob with output.model publishes one.' },
  HasVersion: { means: 'The model has a version that can be served.' },
  ServingOldModel: { means: 'The service answers with an older version while the target is not available.' },
  EngineFailed: {
    means: 'The engine of a pod ended; the message has its code and remedy.',
    advice: '`windlass logs NAME --previous` shows its last lines.',
  },
  Serving: { means: 'All replicas answer with the target.' },
  Loading: { means: 'Pods of the target are starting; what served before goes on serving.' },
  Waiting: { means: 'The service waits for a version of its model.' },
  ScaledToZero: { means: 'spec.replicas is 0: nothing serves.', advice: '`kubectl scale` brings replicas back.' },
  Copied: { means: 'A copy of the published version is on the server that output.uri names.' },
  PodCreated: { means: 'The controller made a pod.' },
  ReplacingPod: { means: 'A lost pod is made again while the others wait for it.' },
} as const satisfies Record<string, Term>;

/** Ends of a container that are not in our table of exit codes: what the system or the kubelet did. */
export const systemExits: Readonly<Record<number, Term>> = {
  1: { means: 'The process ended with an error that it did not name.', advice: '`windlass logs NAME` shows its last lines.' },
  126: { means: 'The command of the container can not be executed.', advice: 'Check the image.' },
  127: { means: 'The command of the container was not found.', advice: 'Check the image: it must be that of Windlass.' },
  130: { means: 'Ended by SIGINT.' },
  134: {
    means: 'Ended by SIGABRT: a check inside of the process failed.',
    advice: 'Please report it, with `windlass report NAME`.',
  },
  137: {
    means: 'Ended by SIGKILL: out of memory (then the reason is OOMKilled), or it did not end within its grace time.',
    advice: 'If it repeats, raise resources.limits.memory.',
  },
  139: {
    means: 'Ended by SIGSEGV: a fault of the compute core or of the machine.',
    advice: 'Please report it, with `windlass report NAME`.',
  },
  143: { means: 'Ended by SIGTERM: asked to stop.' },
};
