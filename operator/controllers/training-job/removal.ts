// Pods that were to end and do not, because their node is gone or hangs: they are removed from the API, so that their successors can have their names.
//
// The process of such a pod may still run. It can do no harm: ranks of several pods save together or not at all, and a rank that is cut off
// has lost the others; one that trains alone writes each checkpoint whole, under a name of its own, and a step has the same bits whoever
// computes it (runtime/checkpoint/two-writers.test.ts).
import type { Pod } from '#operator/kube/core.ts';
import type { Action } from './decision.ts';

/** A kubelet that lives has removed its pods within seconds of their grace time. */
const defaultRemoveAfterMs = 60_000;

/** What to remove now, and in how many milliseconds a pod is next late or due for removal. */
export function removals(
  pods: readonly Pod[],
  now: number,
  afterMs = defaultRemoveAfterMs,
): { actions: Action[]; dueMs: number | undefined } {
  const leaving = pods.flatMap((pod) => {
    const { deletionTimestamp } = pod.metadata;
    return deletionTimestamp === undefined ? [] : [{ pod, lateMs: Date.parse(deletionTimestamp) - now }];
  });
  const coming = leaving.flatMap(({ lateMs }) => [lateMs, lateMs + afterMs]).filter((leftMs) => leftMs > 0);
  return {
    actions: leaving.filter(({ lateMs }) => lateMs + afterMs <= 0).map(({ pod }) => ({ type: 'removePod', pod })),
    dueMs: coming.length === 0 ? undefined : Math.min(...coming),
  };
}
