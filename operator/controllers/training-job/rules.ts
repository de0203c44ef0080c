// Which rule of a job is for the end of a pod.
import { label } from '#crds/names.ts';
import type { FaultRule, TrainingJob } from '#crds/v1alpha1/index.ts';
import type { Pod } from '#operator/kube/core.ts';
import { ExitCode } from '#runtime/api/exit-codes.ts';
import { firstRule, signalName } from '#runtime/api/fault-rules.ts';
import { endReasonOf } from '../pod-ending.ts';
import type { Ending } from '../pod-ending.ts';

/** The rule of the job that fits an end. Its agent has seen more, and has named it; an end that only follows another is nobody's. */
export function ruleFor({ spec }: TrainingJob, pod: Pod, ending: Ending): FaultRule | undefined {
  const { rules = [] } = spec.faults;
  const { exitCode, words } = ending;
  if (exitCode === ExitCode.follow) return undefined;
  const told = rules.find(({ name }) => name === words.rule);
  if (told) return told;
  return firstRule(rules, {
    exitCode,
    signal: words.signal ?? signalName(ending.signal),
    reason: ending.trouble ?? endReasonOf(pod),
    code: words.code,
    text: [words.message, words.logTail].filter((text) => text !== undefined).join('\n'),
    rank: rankOfEnd(pod, ending),
  });
}

/** The rank that an end is about. */
export function rankOfEnd(pod: Pod, { words }: Ending): number {
  return words.rank ?? Number(pod.metadata.labels?.[label.rank] ?? '0');
}
