// What to do about a pod that failed: by the rules of the job, then by the built-in ones.
import type { FaultAction, TrainingJob } from '#crds/v1alpha1/index.ts';
import { maxExcludedNodes } from '#crds/v1alpha1/training-job-status.ts';
import { ExitCode, isRetryable } from '#runtime/api/exit-codes.ts';
import type { ProgressReport } from '#runtime/api/messages.ts';
import { isDisrupted } from '../pod-ending.ts';
import { isCounted } from './gang.ts';
import type { Ended, Gang } from './gang.ts';
import { podsOf } from './pods.ts';
import { countRestarts } from './restarts.ts';
import { ruleFor } from './rules.ts';

/** Restarts wait this long after the first fault, and twice as long after each further one without a new step in between. */
const firstDelaySeconds = 1;
const longestDelaySeconds = 300;

/** Built-in rules, for what no rule of the job fits. */
type BuiltInRule =
  | 'UserError'
  | 'Preempted'
  | 'Disruption'
  | 'Followed'
  | 'SameFault'
  | 'NothingPublished'
  | 'MaxRestarts'
  | 'Retryable';

export interface Verdict {
  /** Fail ends the job; the others say which pods are replaced. */
  action: 'RestartPod' | 'RestartGang' | 'ExcludeNode' | 'Fail';
  /** Rule that decided: of the job, or a built-in one. */
  rule: BuiltInRule | (string & {});
  /** Whether only the pods that ended are replaced. */
  replaces: boolean;
  /** Whether the restart counts against faults.maxRestarts. */
  charged: boolean;
  /** Restarts of the job after this, if it goes on. */
  restarts: number;
  /** Those of them that the agents of the attempt did. */
  inPlaceRestarts: number;
  delaySeconds: number;
}

/**
 * Decides on a pod that ended without a result, was taken away, or does not come up: by the first rule of the job that fits, or else by the
 * built-in ones. Those fail the job at once by a fault of the user; an end that says nothing against the job (it was asked to stop, its node
 * went, it followed a pod that is gone) restarts it free of charge, and so does one that belongs to a fault already counted; everything
 * else counts against `faults.maxRestarts`. `faultsInARow`: those before this one, since the last step that was new.
 */
export function judge(
  job: TrainingJob,
  gang: Gang,
  { pod, ending }: Ended,
  report: ProgressReport | undefined,
  faultsInARow = 0,
): Verdict {
  const { attempt = 0 } = job.status ?? {};
  const live = report?.uid === job.metadata.uid && report?.attempt === attempt ? report : undefined;
  const loss = ending.time === undefined ? undefined : { time: ending.time, attempt, pod: pod.metadata.name };
  const known = countRestarts(job.status ?? {}, live, loss);
  const inPlace = Math.max(known.inPlaceRestarts, ...gang.ended.map(({ ending: { words } }) => words.restarts ?? 0));
  const used = known.restarts + inPlace - known.inPlaceRestarts;
  const own = ruleFor(job, pod, ending);
  const { rule, action, wait } = own ? { rule: own.name, action: own.action, wait: true } : builtIn(job, gang, { pod, ending });
  const replaces = !gang.isOver && action !== 'RestartGang';
  const restart = action === 'ExcludeNode' ? action : replaces ? 'RestartPod' : 'RestartGang';
  const delaySeconds = delayAfter(faultsInARow - (gang.isOver ? 0 : 1));
  const free = { replaces, charged: false, restarts: used, inPlaceRestarts: inPlace, delaySeconds: 0 };
  if (action === 'Fail') return { action, rule, ...free };
  if (action === 'Ignore') return { action: restart, rule, ...free, delaySeconds: wait ? delaySeconds : 0 };
  if (isCounted({ pod, ending }, job)) return { action: restart, rule: 'SameFault', ...free };
  if (used >= job.spec.faults.maxRestarts) return { action: 'Fail', rule: 'MaxRestarts', ...free };
  return { action: restart, rule, replaces, charged: true, restarts: used + 1, inPlaceRestarts: inPlace, delaySeconds };
}

/** What is decided where no rule of the job fits; docs/failures.md has it as a table. */
function builtIn(
  job: TrainingJob,
  gang: Gang,
  { pod, ending: { exitCode } }: Ended,
): { rule: BuiltInRule; action: FaultAction; wait: boolean } {
  const free = { action: 'Ignore', wait: false } as const;
  if (exitCode === ExitCode.userError) return { rule: 'UserError', action: 'Fail', wait: false };
  if (exitCode === ExitCode.preempted) return { rule: 'Preempted', ...free };
  if (isDisrupted(pod)) return { rule: 'Disruption', ...free };
  if (exitCode === ExitCode.follow && gang.ended.length < podsOf(job)) return { rule: 'Followed', ...free };
  return { rule: isRetryable(exitCode) ? 'Retryable' : 'NothingPublished', action: 'RestartPod', wait: true };
}

/** The first of several pods is replaced at once: the others wait for it. */
function delayAfter(faults: number): number {
  return faults < 0 ? 0 : Math.min(longestDelaySeconds, firstDelaySeconds * 2 ** faults);
}

/** The nodes to keep away from, with one more; the oldest makes room. */
export function excluded(nodes: readonly string[] = [], node: string | undefined): string[] | undefined {
  const all = [...nodes.filter((known) => known !== node), ...(node === undefined ? [] : [node])];
  return all.length === 0 ? undefined : all.slice(-maxExcludedNodes);
}
