// What became of the pods of an attempt, which stand and fall together: which of them ended, which end explains the others, and whether
// the rest can go on without it.
import { label } from '#crds/names.ts';
import type { FaultAction, TrainingJob } from '#crds/v1alpha1/index.ts';
import { isPodFinished } from '#operator/kube/core.ts';
import type { Pod } from '#operator/kube/core.ts';
import { ExitCode } from '#runtime/api/exit-codes.ts';
import { endingOf, isDisrupted } from '../pod-ending.ts';
import type { Ending } from '../pod-ending.ts';
import { attemptOf, podsOf } from './pods.ts';
import { isReplacement } from './restarts.ts';
import { ruleFor } from './rules.ts';

export interface Ended {
  pod: Pod;
  ending: Ending;
}

export interface Gang {
  /** Pods of the attempt that nobody has asked to go. */
  current: readonly Pod[];
  /** Those that have ended and are not replaced already, in the order of blame: the first one is the cause. */
  ended: readonly Ended[];
  /** Pods of the attempt that were running or coming up when somebody else took them away. */
  taken: readonly Ended[];
  /** Whether all of them have ended, or one of those left has ended for good: what is left can't go on. */
  isOver: boolean;
}

/** Within this time of a first end, others are taken to be of the same cause. */
const settleMs = 3_000;

/** The pods of the job's attempt. */
export function gangOf(job: TrainingJob, pods: readonly Pod[]): Gang {
  const { attempt = 0, replacing = [] } = job.status ?? {};
  const current = pods.filter((pod) => attemptOf(pod) === attempt && pod.metadata.deletionTimestamp === undefined);
  const kept = current.filter((pod) => !replacing.includes(pod.metadata.uid ?? ''));
  const ended = kept.filter(isPodFinished).map((pod) => ({ pod, ending: endingOf(pod) }));
  const isOver = ended.length >= podsOf(job) || ended.some(({ ending }) => isLast(ending));
  const taken = pods
    .filter((pod) => attemptOf(pod) === attempt && pod.metadata.deletionTimestamp !== undefined)
    .filter((pod) => !replacing.includes(pod.metadata.uid ?? ''))
    .map((pod) => ({ pod, ending: takenEnding(pod) }));
  return { current, ended: ended.toSorted(byBlame), taken, isOver };
}

/** What a pod that is leaving says so far; its container may go on for a while. */
function takenEnding(pod: Pod): Ending {
  const ending = endingOf(pod);
  return { ...ending, time: ending.time ?? pod.metadata.deletionTimestamp };
}

/** The end that explains the others, if there is one: work that is done is none while others still work. */
export function causeOf({ ended }: Gang, job: TrainingJob): Ended | undefined {
  const faults = ended.filter(({ ending }) => ending.exitCode !== ExitCode.done);
  return ended.length >= podsOf(job) ? (faults[0] ?? ended[0]) : faults[0];
}

/**
 * Milliseconds until it is clear what an end means. An agent that gives up tells the others, so one that ends of its own accord may be the first
 * of all, and one that follows comes before its cause. A pod that was killed or taken away says nothing about the others.
 */
export function settlesIn({ ended, isOver }: Gang, { ending, pod }: Ended, job: TrainingJob, now: number): number {
  const isLost = ending.signal !== undefined || ending.exitCode === ExitCode.preempted || isDisrupted(pod);
  // Its agent ends this pod alone, by a rule of the job: the others wait for the next one.
  const isAlone = ending.words.rule !== undefined && isForPod(ruleFor(job, pod, ending)?.action);
  if (ended.length >= podsOf(job) || ending.exitCode === ExitCode.userError || ((isLost || isAlone) && !isOver)) return 0;
  const last = Math.max(...ended.map(({ ending: { time } }) => (time === undefined ? -Infinity : Date.parse(time))));
  return Math.max(0, Math.min(settleMs, last + settleMs - now));
}

/** Whether an end is of the same cause as the one that pods were replaced for last, and that still keeps the job from running: it is not counted again. */
export function isCounted({ ending }: Ended, { status }: TrainingJob): boolean {
  const { lastFailure, attempt = 0, state } = status ?? {};
  if (state === 'Running') return false;
  if (!lastFailure || !isReplacement(lastFailure, attempt) || ending.time === undefined) return false;
  return Date.parse(ending.time) - Date.parse(lastFailure.time) < settleMs;
}

const isForPod = (action: FaultAction | undefined) => action === 'RestartPod' || action === 'ExcludeNode';

/** Ends after which none of the gang can go on: those that follow another, and those that have done their part. */
function isLast({ exitCode }: Ending): boolean {
  return exitCode === ExitCode.follow || exitCode === ExitCode.done;
}

/** A fault of the user comes first: no other explains it. A pod that lost a peer, or only followed one, comes last. */
function blameOf({ ending: { exitCode } }: Ended): number {
  if (exitCode === ExitCode.userError) return 0;
  if (exitCode === ExitCode.rankLost) return 2;
  return exitCode === ExitCode.follow || exitCode === ExitCode.done ? 3 : 1;
}

function byBlame(a: Ended, b: Ended): number {
  const timeOf = ({ ending }: Ended) => ending.time ?? '';
  return blameOf(a) - blameOf(b) || timeOf(a).localeCompare(timeOf(b)) || rankOf(a.pod) - rankOf(b.pod);
}

/** Index of a pod among those of its job. */
function rankOf(pod: Pod): number {
  return Number(pod.metadata.labels?.[label.rank] ?? '0');
}
