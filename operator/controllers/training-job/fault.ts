// Faults that the agents of a job healed by themselves, as their report names them.
import { constants } from 'node:os';
import type { PodFailure } from '#crds/v1alpha1/index.ts';
import type { ProgressReport } from '#runtime/api/messages.ts';
import { isSame } from './restarts.ts';

const healed = 'RestartInPlace';

/** The fault of a report as a record for the status; undefined if there is none or the status has it, or a later one, already. */
export function faultOf({ fault, attempt }: ProgressReport, last: PodFailure | undefined): PodFailure | undefined {
  const happened = Date.parse(fault?.time ?? '');
  if (!fault || Number.isNaN(happened)) return undefined;
  if (last && Date.parse(last.time) >= happened) return undefined;
  // Of a pod that was lost the operator saw more.
  if (last?.action !== healed && isSame({ fault, attempt }, last)) return undefined;
  const signal = fault.signal === undefined ? undefined : (constants.signals as Record<string, number | undefined>)[fault.signal];
  return {
    time: new Date(happened).toISOString(),
    attempt,
    rank: fault.rank,
    pod: fault.pod,
    exitCode: fault.exitCode !== undefined && fault.exitCode >= 0 && fault.exitCode <= 255 ? fault.exitCode : undefined,
    signal,
    code: fault.code?.slice(0, 64),
    message: fault.message,
    rule: 'InPlace',
    action: healed,
    step: fault.step,
    operation: fault.operation?.slice(0, 64),
    site: fault.site?.slice(0, 128),
  };
}
