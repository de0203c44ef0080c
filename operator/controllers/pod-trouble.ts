// What keeps a pod from running, by the words of the scheduler and the kubelet.
import type { Pod } from '#operator/kube/core.ts';
import { mainStatus, withRemedy } from './pod-ending.ts';
import { troubles } from './reasons.ts';
import type { TroubleReason } from './reasons.ts';

export interface Trouble {
  reason: TroubleReason;
  /** What is wrong with which pod, and what to do. */
  message: string;
  /** The first half of it. */
  words: string;
  /** The second half. */
  remedy: string;
  /** Nothing will change until somebody does something. */
  stalls: boolean;
}

/** Reasons of waiting containers, as kubelets write them. */
const waits: Record<string, TroubleReason> = {
  ErrImagePull: 'ImagePull',
  ImagePullBackOff: 'ImagePull',
  ErrImageNeverPull: 'ImagePull',
  RegistryUnavailable: 'ImagePull',
  ImageInspectError: 'ImagePull',
  SignatureValidationFailed: 'ImagePull',
  InvalidImageName: 'InvalidImageName',
  CreateContainerConfigError: 'ContainerConfigInvalid',
  CreateContainerError: 'ContainerNotStarted',
  RunContainerError: 'ContainerNotStarted',
  PreCreateHookError: 'ContainerNotStarted',
  PreStartHookError: 'ContainerNotStarted',
  CrashLoopBackOff: 'CrashLoopBackOff',
};

export function troubleOf(pod: Pod): Trouble | undefined {
  const unscheduled = pod.status?.conditions?.find(({ type, status }) => type === 'PodScheduled' && status === 'False');
  if (unscheduled) {
    const words = unscheduled.message ?? 'no node has room for it';
    return trouble(pod, unscheduledBy(words), words);
  }
  const waiting = mainStatus(pod)?.state?.waiting;
  const reason = waits[waiting?.reason ?? ''];
  if (!waiting || reason === undefined) return undefined;
  const words = waiting.message ? `${waiting.reason}: ${waiting.message}` : waiting.reason!;
  return trouble(pod, reason, words);
}

/** The scheduler's words for claims. */
function unscheduledBy(words: string): TroubleReason {
  if (/persistentvolumeclaim "[^"]*" not found/.test(words)) return 'VolumeClaimMissing';
  return /unbound (immediate )?PersistentVolumeClaims?/.test(words) ? 'VolumeClaimPending' : 'Unschedulable';
}

function trouble(pod: Pod, reason: TroubleReason, words: string): Trouble {
  const { remedy, stalls } = troubles[reason] as { remedy: string; stalls?: true };
  const told = `pod ${pod.metadata.name}: ${words}`;
  return { reason, message: withRemedy(told, remedy), words: told, remedy, stalls: stalls === true };
}
