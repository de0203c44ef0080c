// What to do about a pod that failed: the rules, in order, and the record of what happened.
import { label } from '#crds/names.ts';
import type { PodFailure, TrainingJob } from '#crds/v1alpha1/index.ts';
import type { Pod } from '#operator/kube/core.ts';
import { isoTime } from '#operator/kube/clock.ts';
import { ExitCode, isRetryable } from '#runtime/api/exit-codes.ts';
import type { ProgressReport } from '#runtime/api/messages.ts';
import { isDisrupted, withRemedy } from '../pod-ending.ts';
import type { Ending } from '../pod-ending.ts';
import { isCounted } from './gang.ts';
import type { Ended, Gang } from './gang.ts';
import { podsOf } from './pods.ts';
import { countRestarts } from './restarts.ts';

/** Restarts wait this long after the first fault, and twice as long after each further one. */
const firstDelaySeconds = 1;
const longestDelaySeconds = 300;

export interface Verdict {
  action: 'Restart' | 'Fail';
  /** Rule that decided. */
  rule: 'UserError' | 'Preempted' | 'Disruption' | 'Followed' | 'SameFault' | 'NothingPublished' | 'MaxRestarts' | 'Retryable';
  /** Restarts of the job after this, if it goes on. */
  restarts: number;
  /** Those of them that the agents of the attempt did. */
  inPlaceRestarts: number;
  delaySeconds: number;
}

/**
 * Decides on a pod that ended without a result. A fault of the user fails the job at once; an end that says nothing against the job
 * (it was asked to stop, its node went, it followed a pod that is gone) restarts it free of charge, and so does one that belongs to a fault
 * already counted; everything else counts against `faults.maxRestarts`.
 */
export function judge(job: TrainingJob, gang: Gang, { pod, ending }: Ended, report: ProgressReport | undefined): Verdict {
  const { attempt = 0 } = job.status ?? {};
  const live = report?.uid === job.metadata.uid && report?.attempt === attempt ? report : undefined;
  const loss = ending.time === undefined ? undefined : { time: ending.time, attempt, pod: pod.metadata.name };
  const known = countRestarts(job.status ?? {}, live, loss);
  const inPlace = Math.max(known.inPlaceRestarts, ...gang.ended.map(({ ending: { words } }) => words.restarts ?? 0));
  const used = known.restarts + inPlace - known.inPlaceRestarts;
  const free = { restarts: used, inPlaceRestarts: inPlace, delaySeconds: 0 };
  if (ending.exitCode === ExitCode.userError) return { action: 'Fail', rule: 'UserError', ...free };
  if (ending.exitCode === ExitCode.preempted) return { action: 'Restart', rule: 'Preempted', ...free };
  if (isDisrupted(pod)) return { action: 'Restart', rule: 'Disruption', ...free };
  if (ending.exitCode === ExitCode.follow && gang.ended.length < podsOf(job))
    return { action: 'Restart', rule: 'Followed', ...free };
  if (isCounted({ pod, ending }, job)) return { action: 'Restart', rule: 'SameFault', ...free };
  const rule = isRetryable(ending.exitCode) ? 'Retryable' : 'NothingPublished';
  if (used >= job.spec.faults.maxRestarts) return { action: 'Fail', rule: 'MaxRestarts', ...free };
  return {
    action: 'Restart',
    rule,
    restarts: used + 1,
    inPlaceRestarts: inPlace,
    delaySeconds: gang.isOver ? delayAfter(used) : delayAfter(used - 1),
  };
}

/** The first of several pods is replaced at once: the others wait for it. */
function delayAfter(restarts: number): number {
  return restarts < 0 ? 0 : Math.min(longestDelaySeconds, firstDelaySeconds * 2 ** restarts);
}

/** The record for status.lastFailure. `now` in ms stands in for an ending that carries no time. */
export function failureOf(pod: Pod, ending: Ending, verdict: { rule: string; action: string }, now: number): PodFailure {
  const { words, exitCode, signal } = ending;
  return {
    time: ending.time ?? isoTime(now),
    attempt: Number(pod.metadata.labels?.[label.attempt] ?? '0'),
    rank: words.rank ?? Number(pod.metadata.labels?.[label.rank] ?? '0'),
    pod: pod.metadata.name,
    node: pod.spec.nodeName,
    ...(exitCode !== undefined && exitCode <= 255 ? { exitCode } : {}),
    ...(signal === undefined ? {} : { signal }),
    code: clip(words.code, 64),
    message: clip(words.message ?? defaultMessage(pod, ending), 4096),
    remedy: clip(words.remedy, 1024),
    rule: verdict.rule,
    action: verdict.action,
    step: words.step ?? words.progress?.step,
    logTail: clip(words.logTail, 4096),
  };
}

/** `moby-worker-0, rank 0, exit code 64, WL_DATA_EMPTY: corpus has 3 tokens. Add text.` */
export function failureMessage(failure: PodFailure): string {
  const ended = failure.signal === undefined ? `exit code ${failure.exitCode ?? 'unknown'}` : `signal ${failure.signal}`;
  const where = [failure.pod, `rank ${failure.rank}`, ended, failure.code].filter((part) => part !== undefined).join(', ');
  return `${where}: ${withRemedy(failure.message ?? 'it said nothing', failure.remedy)}`;
}

function defaultMessage(pod: Pod, { exitCode, signal, reason }: Ending): string {
  if (reason === 'OOMKilled') return 'the container used more memory than its limit and was killed';
  if (reason !== undefined) return pod.status?.message ?? `the pod was ended: ${reason}`;
  if (exitCode === ExitCode.done) return 'the pod ended without publishing a model';
  if (signal !== undefined) return `the container was ended by signal ${signal}`;
  return exitCode === undefined ? 'the pod failed and left no exit code' : `the container ended with code ${exitCode}`;
}

const clip = (text: string | undefined, length: number) => text?.slice(0, length);
