// Pods in the words of `kubectl get pods`. Pure.
import { label } from '#crds/names.ts';
import type { Pod } from '#operator/kube/core.ts';
import { formatDuration, table } from '../format.ts';

/** The state of a pod in one word: what its container waits for or ended with, before the phase. */
export function podState(pod: Pod): string {
  const { phase = 'Pending', reason, containerStatuses = [] } = pod.status ?? {};
  if (pod.metadata.deletionTimestamp !== undefined) return 'Terminating';
  if (reason !== undefined) return reason;
  const states = containerStatuses.map(({ state }) => state);
  const waiting = states.find((state) => state?.waiting?.reason !== undefined)?.waiting?.reason;
  if (waiting !== undefined) return waiting;
  const ended = states.find((state) => state?.terminated !== undefined)?.terminated;
  if (ended && phase !== 'Running') {
    if (ended.exitCode === 0) return 'Completed';
    return ended.reason === undefined || ended.reason === 'Error' ? `Error (${ended.exitCode})` : ended.reason;
  }
  if (phase === 'Running') return containerStatuses.every(({ ready }) => ready) ? 'Running' : 'NotReady';
  return phase;
}

/** Rank of a job's pod. */
export function rankOfPod(pod: Pod): number | undefined {
  const text = pod.metadata.labels?.[label.rank];
  return text === undefined ? undefined : Number(text);
}

/** Ranks in order, then others by name. */
export function inRankOrder(pods: readonly Pod[]): Pod[] {
  return pods.toSorted(
    (a, b) => (rankOfPod(a) ?? Infinity) - (rankOfPod(b) ?? Infinity) || a.metadata.name.localeCompare(b.metadata.name),
  );
}

/** A table of pods: where each is and how. `now` in ms. */
export function podTable(pods: readonly Pod[], now: number): string[] {
  const rows = inRankOrder(pods).map((pod) => [
    pod.metadata.name,
    pod.spec.nodeName ?? '-',
    podState(pod),
    String(Math.max(0, ...(pod.status?.containerStatuses ?? []).map(({ restartCount }) => restartCount))),
    pod.metadata.creationTimestamp === undefined ? '' : ageOf(pod.metadata.creationTimestamp, now),
  ]);
  if (rows.length === 0) return ['none'];
  return table([['pod', 'node', 'state', 'restarts', 'age'], ...rows])
    .trimEnd()
    .split('\n');
}

export function ageOf(time: string, now: number): string {
  return formatDuration((now - Date.parse(time)) / 1000);
}
