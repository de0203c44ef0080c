// The record of a fault: what happened to which pod, and what was done.
import { label } from '#crds/names.ts';
import type { PodFailure } from '#crds/v1alpha1/index.ts';
import type { Pod } from '#operator/kube/core.ts';
import { isoTime } from '#operator/kube/clock.ts';
import { ExitCode } from '#runtime/api/exit-codes.ts';
import { signalName, signalNumber } from '#runtime/api/fault-rules.ts';
import { endReasonOf, withRemedy } from '../pod-ending.ts';
import type { Ending } from '../pod-ending.ts';
import { endings } from '../reasons.ts';
import type { Verdict } from './recovery.ts';
import { rankOfEnd } from './rules.ts';

/** The record for status.lastFailure. `now` in ms stands in for an ending that carries no time. */
export function failureOf(
  pod: Pod,
  ending: Ending,
  verdict: Pick<Verdict, 'rule' | 'action' | 'charged'>,
  now: number,
): PodFailure {
  const { words, exitCode } = ending;
  const signal = ending.signal ?? signalNumber(words.signal);
  const reason = ending.trouble ?? endReasonOf(pod) ?? ending.reason;
  return {
    time: ending.time ?? isoTime(now),
    attempt: Number(pod.metadata.labels?.[label.attempt] ?? '0'),
    rank: rankOfEnd(pod, ending),
    pod: pod.metadata.name,
    node: pod.spec.nodeName,
    ...(exitCode !== undefined && exitCode <= 255 ? { exitCode } : {}),
    ...(signal === undefined ? {} : { signal }),
    reason: clip(reason, 64),
    code: clip(words.code, 64),
    message: clip(words.message ?? defaultMessage(pod, { ...ending, signal, reason }), 4096),
    remedy: clip(words.remedy ?? remedyOf(reason, signal), 1024),
    rule: verdict.rule,
    action: verdict.action,
    charged: verdict.charged,
    step: words.step ?? words.progress?.step,
    logTail: clip(words.logTail, 4096),
  };
}

/** `moby-worker-0, rank 0, exit code 64, WL_DATA_EMPTY: corpus has 3 tokens. Add text.` */
export function failureMessage(failure: PodFailure): string {
  const { exitCode, signal, reason } = failure;
  const code = exitCode === undefined ? undefined : `exit code ${exitCode}`;
  const ended = signal === undefined ? (code ?? (reason === undefined ? 'exit code unknown' : undefined)) : `signal ${signal}`;
  const parts = [failure.pod, `rank ${failure.rank}`, ended, failure.reason, failure.code];
  const where = parts.filter((part) => part !== undefined).join(', ');
  return `${where}: ${withRemedy(failure.message ?? 'it said nothing', failure.remedy)}`;
}

function defaultMessage(pod: Pod, { exitCode, signal, reason }: Pick<Ending, 'exitCode' | 'signal' | 'reason'>): string {
  if (reason === 'OOMKilled') return 'the container used more memory than its limit and was killed';
  const told = pod.status?.message ?? pod.status?.conditions?.find(({ type }) => type === 'DisruptionTarget')?.message;
  if (reason !== undefined) return told || causeOf(reason) || `the pod was ended: ${reason}`;
  if (exitCode === ExitCode.done) return 'the pod ended without publishing a model';
  if (signal !== undefined) return `the container was ended by signal ${signal}`;
  return exitCode === undefined ? 'the pod failed and left no exit code' : `the container ended with code ${exitCode}`;
}

const entryOf = (reason: string | undefined): { cause: string; remedy: string } | undefined =>
  reason !== undefined && Object.hasOwn(endings, reason) ? endings[reason as keyof typeof endings] : undefined;
const causeOf = (reason: string) => entryOf(reason)?.cause;

function remedyOf(reason: string | undefined, signal: number | undefined): string | undefined {
  const known = entryOf(reason)?.remedy;
  if (known !== undefined || signal === undefined) return known;
  return signalName(signal) === 'SIGKILL'
    ? "If nobody killed it, look for the out-of-memory killer in the kernel's log of its node."
    : 'See the last log lines; if it repeats on one node, take that node out of use.';
}

const clip = (text: string | undefined, length: number) => text?.slice(0, length);
