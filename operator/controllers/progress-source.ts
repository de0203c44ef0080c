// Progress of training jobs, as their ranks report it over the bus: a hint that may be late, doubled or missing.
import { formatKey } from '#operator/kube/client.ts';
import type { ObjectKey } from '#operator/kube/client.ts';
import { ProgressReport } from '#runtime/api/messages.ts';
import type { Progress } from '#runtime/api/messages.ts';
import { progressSubject } from '#runtime/api/subjects.ts';

/** The side of the event bus that controllers need. `EventBus` of runtime/api has it. */
export interface ProgressSource {
  subscribe(pattern: string, listener: (payload: unknown, subject: string) => void): () => void;
}

/** The newest report of each job. */
export interface ProgressBook {
  latest(key: ObjectKey): ProgressReport | undefined;
  forget(key: ObjectKey): void;
  close(): void;
}

/** Keeps the newest report per job and calls `onReport` for each. Reports that are not one are dropped. */
export function createProgressBook(source: ProgressSource, onReport: (key: ObjectKey) => void): ProgressBook {
  const reports = new Map<string, ProgressReport>();
  const unsubscribe = source.subscribe(progressSubject('*', '*'), (payload, subject) => {
    const parsed = ProgressReport.safeParse(payload);
    const [, , namespace, name] = subject.split('.');
    if (!parsed.success || namespace === undefined || name === undefined) return;
    const key = { namespace, name };
    reports.set(formatKey(key), mergeReports(reports.get(formatKey(key)), parsed.data));
    onReport(key);
  });
  return {
    latest: (key) => reports.get(formatKey(key)),
    forget: (key) => void reports.delete(formatKey(key)),
    close: unsubscribe,
  };
}

/** The figures of a report; steps are told only by a rank that knows how many there are. */
export function knownFigures({ step, steps, ...figures }: Progress): Partial<Progress> {
  return steps > 0 ? { step, steps, ...figures } : figures;
}

/** What a report leaves out stays as it was; a phase ends with the first report without one. */
function mergeReports(before: ProgressReport | undefined, report: ProgressReport): ProgressReport {
  if (!before || before.uid !== report.uid) return report;
  if (before.attempt > report.attempt) return before;
  const { phase: _, phaseShare: __, transfer: ___, ...kept } = before.progress;
  return { ...report, progress: { ...kept, ...report.progress } };
}
