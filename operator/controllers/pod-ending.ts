// Reads from a pod's status how its container ended, and why.
import type { FaultReason } from '#crds/v1alpha1/index.ts';
import type { ContainerStatus, Pod, TerminatedState } from '#operator/kube/core.ts';
import { TerminationMessage } from '#runtime/api/messages.ts';

export interface Ending {
  exitCode: number | undefined;
  signal: number | undefined;
  /** The last words of the container; empty if it had none. */
  words: TerminationMessage;
  /** Why Kubernetes says that it ended, such as OOMKilled or Evicted. */
  reason: string | undefined;
  /** When it ended. */
  time: string | undefined;
  /** Of a pod that does not come up: what keeps it, by the name that rules know it by. */
  trouble?: FaultReason | undefined;
}

/** How a finished pod ended. */
export function endingOf(pod: Pod): Ending {
  const terminated = mainStatus(pod)?.state?.terminated;
  return {
    ...endingOfState(terminated),
    reason: pod.status?.reason ?? (terminated?.reason === 'OOMKilled' ? terminated.reason : undefined),
  };
}

/** How the container of a pod that restarts its container ended last. */
export function lastEndingOf(pod: Pod): Ending | undefined {
  const status = mainStatus(pod);
  const terminated = status?.state?.terminated ?? status?.lastState?.terminated;
  return terminated && terminated.exitCode !== 0 ? endingOfState(terminated) : undefined;
}

function endingOfState(terminated: TerminatedState | undefined): Ending {
  const { exitCode } = terminated ?? {};
  return {
    exitCode,
    signal: terminated?.signal ?? (exitCode !== undefined && exitCode > 128 && exitCode <= 192 ? exitCode - 128 : undefined),
    words: parseWords(terminated?.message),
    reason: terminated?.reason === 'OOMKilled' ? terminated.reason : undefined,
    time: terminated?.finishedAt,
  };
}

/** Text that is no termination message is a message by itself: the kubelet's own, or of a foreign image. */
function parseWords(text: string | undefined): TerminationMessage {
  if (text === undefined || text === '') return {};
  try {
    return TerminationMessage.parse(JSON.parse(text));
  } catch {
    return { message: text.slice(0, 4096) };
  }
}

/** Why Kubernetes, or somebody by its API, ended a pod; as the pod's own status tells. */
const endReasons: Record<string, FaultReason> = {
  Evicted: 'Evicted',
  NodeShutdown: 'Evicted',
  Shutdown: 'Evicted',
  Terminated: 'Evicted',
  TerminationByKubelet: 'Evicted',
  NodeAffinity: 'Evicted',
  Preempting: 'Preempted',
  PreemptionByScheduler: 'Preempted',
  EvictionByEvictionAPI: 'Drained',
  NodeLost: 'NodeLost',
  DeletionByTaintManager: 'NodeLost',
  DeletionByPodGC: 'NodeLost',
};

export function endReasonOf(pod: Pod): FaultReason | undefined {
  if (mainStatus(pod)?.state?.terminated?.reason === 'OOMKilled') return 'OOMKilled';
  const targeted = pod.status?.conditions?.find(({ type, status }) => type === 'DisruptionTarget' && status === 'True');
  if (targeted) return endReasons[targeted.reason ?? ''] ?? 'Evicted';
  return endReasons[pod.status?.reason ?? ''] ?? (pod.metadata.deletionTimestamp === undefined ? undefined : 'PodDeleted');
}

/** Whether a pod was taken away, which says nothing against the pod itself. */
export function isDisrupted(pod: Pod): boolean {
  const reason = endReasonOf(pod);
  return reason !== undefined && reason !== 'OOMKilled';
}

/** `What happened. What to do.` */
export function withRemedy(message: string, remedy: string | undefined): string {
  const sentence = /[.!?]$/.test(message) ? message : `${message}.`;
  return remedy === undefined ? sentence : `${sentence} ${remedy}`;
}

/** What the kubelet says of the container that does the work. */
export function mainStatus(pod: Pod): ContainerStatus | undefined {
  const name = pod.spec.containers[0]?.name;
  return pod.status?.containerStatuses?.find((status) => status.name === name);
}
