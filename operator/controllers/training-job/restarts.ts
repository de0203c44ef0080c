// How many restarts a job has used: those that the agents did in place, as far as known, and those that the operator did. Either sees pods that
// are lost; the operator decides whether they count.
import type { PodFailure, TrainingJobStatus } from '#crds/v1alpha1/index.ts';
import type { ProgressReport } from '#runtime/api/messages.ts';

export interface Restarts {
  /** All of them. */
  restarts: number;
  /** Those of them that the agents of the attempt count. */
  inPlaceRestarts: number;
}

/** What the operator saw of a pod within this time of what the agents saw is the same fault. */
const sameFaultMs = 15_000;

type Loss = Pick<PodFailure, 'time' | 'attempt' | 'pod'>;

/** Whether the newest fault of a report is a loss that the operator has seen itself. */
export function isSame({ fault, attempt }: Pick<ProgressReport, 'fault' | 'attempt'>, loss: Loss | undefined): boolean {
  if (!fault || loss?.pod !== fault.pod || loss?.attempt !== attempt) return false;
  return Math.abs(Date.parse(fault.time) - Date.parse(loss.time)) < sameFaultMs;
}

/** What the agents call a fault that they healed by themselves. */
export const healed = 'RestartRank';

/** Whether a failure led to new pods in the attempt in which it happened, and not to a new attempt. */
export function isReplacement({ action, attempt }: Pick<PodFailure, 'action' | 'attempt'>, current: number): boolean {
  return action !== healed && action !== 'Fail' && attempt === current;
}

/** The count with a report of the running attempt. `loss`: a pod that is about to be counted, which is left to the caller. */
export function countRestarts(status: TrainingJobStatus, report: ProgressReport | undefined, loss?: Loss): Restarts {
  const { restarts = 0, inPlaceRestarts = 0, lastFailure } = status;
  if (!report || report.restarts === inPlaceRestarts) return { restarts, inPlaceRestarts };
  // Whoever counts restarts in place may have been replaced, and counts from 0 again.
  const own = report.restarts < inPlaceRestarts ? restarts : restarts - inPlaceRestarts;
  const isReplaced = lastFailure !== undefined && isReplacement(lastFailure, report.attempt);
  const isCounted = isSame(report, loss) || (isReplaced && isSame(report, lastFailure));
  return { restarts: Math.max(0, own + report.restarts - (isCounted ? 1 : 0)), inPlaceRestarts: report.restarts };
}
