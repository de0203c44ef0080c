// Reasons in conditions that are not error codes of ranks: what each means, what to do, and whether it goes away by itself.

interface Reason {
  readonly cause: string;
  readonly remedy: string;
  /** Nothing will change until somebody does something: the object says Stalled. */
  readonly stalls?: true;
}

/** Of pods that do not come up. */
export const troubles = {
  ImagePull: {
    cause: 'The image of a pod can not be pulled.',
    remedy:
      'Check the image in status.effective.image, and that the nodes reach its registry and may pull from it; pulling is tried again.',
  },
  InvalidImageName: {
    cause: 'The name of the image is no name of an image.',
    remedy: 'Mend spec.image of the runtime, and create the job again: it keeps what it was started with.',
    stalls: true,
  },
  ContainerConfigInvalid: {
    cause: 'The container can not be made as the pod describes it.',
    remedy: 'Create what the message says is missing, or mend the runtime and create the job again.',
    stalls: true,
  },
  ContainerNotStarted: {
    cause: 'The node could not start the container.',
    remedy: 'See the message; if it repeats on one node, take that node out of use.',
  },
  CrashLoopBackOff: {
    cause: 'The container ends again and again.',
    remedy: 'See the last failure and the log of the pod.',
  },
  Unschedulable: {
    cause: 'No node has room for a pod.',
    remedy:
      'Wait for other pods to end, add nodes, or ask for less in podTemplate.resources; see podTemplate.nodeSelector and status.excludedNodes too.',
  },
  VolumeClaimMissing: {
    cause: 'A claim that the pods mount does not exist.',
    remedy: 'Create the claim in the namespace of the job; the pods start by themselves then.',
    stalls: true,
  },
  VolumeClaimPending: {
    cause: 'A claim that the pods mount has no volume yet.',
    remedy: 'See `kubectl describe pvc`: its storage class may be missing or out of room.',
  },
  PodTerminating: {
    cause: 'A pod that was to end is still there, and its successor needs its name.',
    remedy: 'Nothing: it is removed by force a minute after its grace time. If it repeats, look at its node.',
  },
} as const satisfies Record<string, Reason>;

/** Of pods that the API server does not take. */
export const refusals = {
  QuotaExceeded: {
    cause: 'A quota of the namespace has no room for the pods.',
    remedy: 'Wait for other pods to end, ask for less in podTemplate.resources, or raise the quota; creating is tried again.',
  },
  PodSecurityViolated: {
    cause: 'The Pod Security level of the namespace does not admit the pods.',
    remedy:
      'The pods of Windlass pass `restricted`: see what the message names, and which version of the level the namespace enforces.',
    stalls: true,
  },
  AdmissionRefused: {
    cause: 'An admission policy, webhook or limit range refused the pods.',
    remedy:
      'Change the job or the runtime so that it meets the policy in the message, or have the policy changed; creating is tried again.',
    stalls: true,
  },
  Forbidden: {
    cause: 'The operator may not create what the job needs.',
    remedy: 'Install the roles of the chart for this namespace; creating is tried again.',
    stalls: true,
  },
  NamespaceTerminating: {
    cause: 'The namespace is being deleted.',
    remedy: 'Create the job in another namespace.',
    stalls: true,
  },
  ChildRefused: {
    cause: 'The API server refused a pod or Service as invalid.',
    remedy: 'Mend the field that the message names, in the job or in its runtime.',
    stalls: true,
  },
} as const satisfies Record<string, Reason>;

/** Of pods that ended, where no rank has told an error code. */
export const endings = {
  OOMKilled: {
    cause: 'The container used more memory than its limit and was killed.',
    remedy: 'Raise podTemplate.resources.limits.memory, lower batch.sequences, set recompute: block, or use more ranks.',
  },
  Evicted: {
    cause: 'The node ended the pod: it ran out of memory or disk, or shut down.',
    remedy: 'Nothing if it passes; else request what the pods use in podTemplate.resources.',
  },
  Preempted: {
    cause: 'The scheduler ended the pod to make room for one of higher priority.',
    remedy: 'Nothing: the job goes on when there is room again.',
  },
  Drained: {
    cause: 'The pod was evicted through the API, as `kubectl drain` does.',
    remedy: 'Nothing: the pod comes up on another node.',
  },
  NodeLost: {
    cause: 'The node of the pod is gone or out of reach.',
    remedy: 'Nothing: the pod comes up on another node. Look at the node named.',
  },
  PodDeleted: {
    cause: 'Somebody deleted the pod.',
    remedy: 'Nothing: it is made again. To stop the job, set spec.suspend or delete the job.',
  },
} as const satisfies Record<string, Reason>;

/** Reasons of jobs as a whole. */
export const verdicts = {
  RuntimeNotFound: {
    cause: 'The runtime that spec.runtimeRef names does not exist.',
    remedy: 'Create it: the job starts by itself then. Or create the job anew with the name of another one.',
  },
  DeadlineExceeded: {
    cause: 'The job ran longer than activeDeadlineSeconds.',
    remedy: 'Raise it, or give the job fewer steps.',
  },
  MaxRestartsReached: {
    cause: 'As many faults as faults.maxRestarts allows were followed by one more.',
    remedy:
      'See status.lastFailure for the newest; mend its cause, and create the job again: it goes on from its checkpoint if it has the same name and spec.',
  },
  CopyFailed: {
    cause: 'The version was published, but the copy that output.uri asks for was not put on the server.',
    remedy:
      'See the condition Copied; mend the server or output.secretRef, delete the job and apply it again: it goes on from its last checkpoint, and publishes.',
  },
  FailedByRule: {
    cause: 'A rule of faults.rules with action Fail fitted a fault that has no error code.',
    remedy: 'See status.lastFailure for the rule and the fault.',
  },
} as const satisfies Record<string, Reason>;

export type TroubleReason = keyof typeof troubles;
export type RefusalReason = keyof typeof refusals;

/** WL_DATA_EMPTY becomes DataEmpty: a reason is one CamelCase word. */
export function reasonOf(code: string): string {
  return code
    .replace(/^WL_/, '')
    .toLowerCase()
    .replace(/(^|_)([a-z])/g, (_, __, letter: string) => letter.toUpperCase());
}
