// Reads from a pod's status how its container ended, and what keeps it from starting.
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

/** Reasons of Kubernetes for ending a pod that says nothing against the pod itself. */
const disruptions = new Set(['Evicted', 'NodeLost', 'NodeShutdown', 'Shutdown', 'Terminated', 'Preempting', 'NodeAffinity']);

export function isDisrupted(pod: Pod): boolean {
  const targeted = pod.status?.conditions?.some(({ type, status }) => type === 'DisruptionTarget' && status === 'True');
  return targeted === true || disruptions.has(pod.status?.reason ?? '');
}

/** What keeps a pod from running, if the kubelet or the scheduler says so. */
export function troubleOf(pod: Pod): { reason: string; message: string } | undefined {
  const scheduled = pod.status?.conditions?.find(({ type }) => type === 'PodScheduled');
  if (scheduled?.status === 'False') {
    return {
      reason: scheduled.reason ?? 'Unschedulable',
      message: `pod ${pod.metadata.name}: ${scheduled.message ?? 'no node fits'}`,
    };
  }
  const waiting = mainStatus(pod)?.state?.waiting;
  if (waiting?.reason === undefined || waiting.reason === 'ContainerCreating' || waiting.reason === 'PodInitializing')
    return undefined;
  return { reason: waiting.reason, message: `pod ${pod.metadata.name}: ${waiting.message ?? waiting.reason}` };
}

/** `What happened. What to do.` */
export function withRemedy(message: string, remedy: string | undefined): string {
  const sentence = /[.!?]$/.test(message) ? message : `${message}.`;
  return remedy === undefined ? sentence : `${sentence} ${remedy}`;
}

function mainStatus(pod: Pod): ContainerStatus | undefined {
  const name = pod.spec.containers[0]?.name;
  return pod.status?.containerStatuses?.find((status) => status.name === name);
}
