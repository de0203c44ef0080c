// Pods that do not come up: for how long, and whether a rule of the job has an answer to that. Without one they are waited for.
import type { FaultReason, TrainingJob } from '#crds/v1alpha1/index.ts';
import { isoTime } from '#operator/kube/clock.ts';
import { isPodFinished, isPodReady } from '#operator/kube/core.ts';
import type { Pod } from '#operator/kube/core.ts';
import { firstRule } from '#runtime/api/fault-rules.ts';
import { troubleOf } from '../pod-trouble.ts';
import type { TroubleReason } from '../reasons.ts';
import type { Ended } from './gang.ts';
import { rankOfEnd } from './rules.ts';

/** Patience of a rule that names none. */
const defaultSeconds = 300;

/** What rules call the troubles of pods; all others are NotReady. */
const named: Partial<Record<TroubleReason, FaultReason>> = {
  ImagePull: 'ImagePull',
  InvalidImageName: 'ImagePull',
  Unschedulable: 'Unschedulable',
  VolumeClaimMissing: 'Unschedulable',
  VolumeClaimPending: 'Unschedulable',
};

/** The first pod for which a rule's time is over, as if it had ended; else the milliseconds until that may be so. */
export function hopeless(
  job: TrainingJob,
  pods: readonly Pod[],
  now: number,
): { stuck?: Ended | undefined; dueMs?: number | undefined } {
  const { rules = [] } = job.spec.faults;
  const patient = rules.filter(({ reasons }) => reasons !== undefined);
  if (patient.length === 0) return {};
  const { state, replacing = [] } = job.status ?? {};
  const waiting = pods.filter(
    (pod) => state !== 'Running' && !isPodFinished(pod) && !isPodReady(pod) && !replacing.includes(pod.metadata.uid ?? ''),
  );
  const found = waiting.flatMap((pod) =>
    casesOf(pod, now).flatMap((ended) => {
      const rule = firstRule(patient, {
        reason: ended.ending.trouble,
        text: ended.ending.words.message,
        rank: rankOfEnd(pod, ended.ending),
      });
      if (!rule || rule.action === 'Ignore') return [];
      return [{ ended, leftMs: sinceOf(pod, ended.ending.trouble) + (rule.afterSeconds ?? defaultSeconds) * 1000 - now }];
    }),
  );
  const next = found.toSorted((a, b) => a.leftMs - b.leftMs)[0];
  if (!next) return {};
  return next.leftMs <= 0 ? { stuck: next.ended } : { dueMs: next.leftMs };
}

/** What the pod suffers from, as the end of a pod: by its name, and as NotReady. */
function casesOf(pod: Pod, now: number): Ended[] {
  const trouble = troubleOf(pod);
  const specific = trouble && named[trouble.reason];
  const words = trouble
    ? { message: trouble.words, remedy: trouble.remedy }
    : { message: `pod ${pod.metadata.name} is not ready` };
  const reasons: FaultReason[] = [...(specific ? [specific] : []), 'NotReady'];
  return reasons.map((reason) => ({
    pod,
    ending: { exitCode: undefined, signal: undefined, words, reason, time: isoTime(now), trouble: reason },
  }));
}

/** Since when the pod suffers from it, in ms. Kubelets give no time for what a container waits for. */
function sinceOf(pod: Pod, reason: FaultReason | undefined): number {
  const created = Date.parse(pod.metadata.creationTimestamp ?? '');
  const scheduled = pod.status?.conditions?.find(({ type }) => type === 'PodScheduled')?.lastTransitionTime;
  const since = reason === 'NotReady' || scheduled === undefined ? created : Date.parse(scheduled);
  return Number.isNaN(since) ? Infinity : since;
}
