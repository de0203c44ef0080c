// The newest fault of a job that went on, in one line: who, why, what was done, and how long it took. Pure.
import type { PodFailure } from '#crds/v1alpha1/index.ts';
import type { FaultReport, ProgressReport } from '#runtime/api/messages.ts';

/** How long the ranks needed until they trained again after the fault of this time. */
export interface Healing {
  readonly faultTime: string;
  readonly seconds: number | undefined;
}

const deeds: Record<string, string> = {
  RestartPod: 'its pod was replaced',
  ExcludeNode: 'its pod was replaced, away from its node',
  RestartGang: 'all pods were started again',
};

/** Follows a fault from report to report until every rank of a later world steps. */
export function isHealed(before: Healing | undefined, { fault, epoch, ranks = [], time }: ProgressReport): Healing | undefined {
  if (!fault) return before;
  const known = before?.faultTime === fault.time ? before : { faultTime: fault.time, seconds: undefined };
  if (known.seconds !== undefined || epoch === undefined || epoch <= fault.epoch || ranks.length === 0) return known;
  if (!ranks.every(({ state, phase }) => state === 'running' && phase !== 'preparing')) return known;
  return { faultTime: fault.time, seconds: (Date.parse(time) - Date.parse(fault.time)) / 1000 };
}

/** The later one of what the agents report and what the operator recorded. */
export function faultText(
  recorded: PodFailure | undefined,
  reported: FaultReport | undefined,
  healing: Healing | undefined,
): string | undefined {
  if (reported && (!recorded || Date.parse(reported.time) >= Date.parse(recorded.time) || recorded.action === 'RestartRank')) {
    const took = healing?.faultTime === reported.time ? healing.seconds : undefined;
    return `${reported.message}${took === undefined ? '' : `; trained again after ${took.toFixed(1)} s`}`;
  }
  if (!recorded) return undefined;
  const deed = deeds[recorded.action ?? ''];
  const who = `rank ${recorded.rank ?? '?'} (pod ${recorded.pod ?? 'unknown'})`;
  return deed === undefined ? recorded.message : `${who}: ${recorded.message ?? 'ended'}; ${deed}`;
}
