// The checkpoint that ranks saved when they were told to end: by their last words, or by the last report that came over the bus.
import type { Observed } from './decision.ts';
import { endingOf } from '../pod-ending.ts';
import { isNews } from './running.ts';
import { foldProgress } from './status.ts';

/** The figures that belong to the newest such checkpoint; nothing if the status knows it. */
export function lastSaved({ job, pods, report }: Observed, now: number): Partial<ReturnType<typeof foldProgress>> {
  const status = job.status ?? {};
  const told = pods.flatMap((pod) => endingOf(pod).words.progress ?? []);
  if (report && isNews(job, report, status.attempt ?? 0)) told.push(report.progress);
  const stepOf = ({ checkpointStep = -1 }: (typeof told)[number]): number => checkpointStep;
  const newest = told.toSorted((a, b) => stepOf(b) - stepOf(a))[0];
  return newest && stepOf(newest) > (status.checkpoint?.step ?? -1) ? foldProgress(status, newest, now) : {};
}
