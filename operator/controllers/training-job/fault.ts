// Faults that the agents of a job healed by themselves, as their report names them.
import type { PodFailure } from '#crds/v1alpha1/index.ts';
import type { Pod } from '#operator/kube/core.ts';
import type { ProgressReport } from '#runtime/api/messages.ts';
import { signalNumber } from '#runtime/api/fault-rules.ts';
import { healed, isSame } from './restarts.ts';

/** The fault of a report as a record for the status; undefined if there is none or the status has it, or a later one, already. */
export function faultOf(
  { fault, attempt }: ProgressReport,
  last: PodFailure | undefined,
  pods: readonly Pod[] = [],
): PodFailure | undefined {
  const happened = Date.parse(fault?.time ?? '');
  if (!fault || Number.isNaN(happened)) return undefined;
  if (last && Date.parse(last.time) >= happened) return undefined;
  // Of a pod that was lost the operator saw more.
  if (last?.action !== healed && isSame({ fault, attempt }, last)) return undefined;
  return {
    time: new Date(happened).toISOString(),
    attempt,
    rank: fault.rank,
    pod: fault.pod,
    node: pods.find(({ metadata }) => metadata.name === fault.pod)?.spec.nodeName,
    exitCode: fault.exitCode !== undefined && fault.exitCode >= 0 && fault.exitCode <= 255 ? fault.exitCode : undefined,
    signal: signalNumber(fault.signal),
    code: fault.code?.slice(0, 64),
    message: fault.message,
    remedy: fault.remedy,
    rule: fault.rule ?? 'InPlace',
    action: healed,
    charged: fault.charged ?? true,
    logTail: fault.logTail,
    step: fault.step,
    operation: fault.operation?.slice(0, 64),
    site: fault.site?.slice(0, 128),
  };
}
