// Which pods of a service are made and which are ended, so that what answers now goes on answering. Pure.
import type { InferenceService } from '#crds/v1alpha1/index.ts';
import { isPodFinished, isPodReady } from '#operator/kube/core.ts';
import type { Pod } from '#operator/kube/core.ts';
import { indexOfPod, revisionOfPod } from './pods.ts';

export interface Rolling {
  /** Pods that the service owns, of every revision, those that are going included. */
  pods: readonly Pod[];
  /** Revision that pods shall be of. */
  revision: string;
  replicas: number;
  strategy: InferenceService['spec']['rollout']['strategy'];
  /** Whether pods are to leave the node of this name. */
  isCordoned: (node: string) => boolean;
}

export interface RollStep {
  /** Places of pods to make. */
  create: number[];
  remove: Pod[];
  /** Pods of the revision that may stay: at most `replicas`, the best first. */
  wanted: Pod[];
  /** Pods that go when others answer in their place: those of other revisions, and with Surge those on cordoned nodes. */
  leaving: Pod[];
}

/** Lower goes first when a service shrinks: the annotation that ReplicaSets heed. */
const deletionCost = 'controller.kubernetes.io/pod-deletion-cost';

/** The next step. Pods that are going already count for nothing: others are made in their place at once. */
export function rollStep({ pods, revision, replicas, strategy, isCordoned }: Rolling): RollStep {
  const living = pods.filter((pod) => pod.metadata.deletionTimestamp === undefined);
  const going = pods.length - living.length;
  const running = living.filter((pod) => !isPodFinished(pod)).toSorted(byWorth);
  const drainsFirst = strategy === 'DrainFirst';
  // Who has no room for a second pod may have none elsewhere either: a cordoned node alone ends nothing there.
  const mayStay = (pod: Pod) => revisionOfPod(pod) === revision && (drainsFirst || !onCordoned(pod));
  const staying = running.filter(mayStay);
  const wanted = staying.slice(0, replicas);
  const leaving = running.filter((pod) => !mayStay(pod));
  const missing = replicas - wanted.length;

  // As many others stay as wanted ones do not answer yet.
  const answering = leaving.filter(isPodReady).toSorted((a, b) => Number(onCordoned(a)) - Number(onCordoned(b)));
  const kept = answering.slice(0, replicas - wanted.filter(isPodReady).length);
  // One makes room for the next, when the one before has made it. What has found no room, as after a try with Surge, is among those to come.
  const placed = wanted.filter((pod) => !findsNoRoom(pod));
  const isFull = placed.length + leaving.length >= replicas;
  if (drainsFirst && placed.length < replicas && going === 0 && isFull && placed.every(isPodReady)) kept.pop();
  const room = drainsFirst ? Math.max(0, replicas - running.length - going) : missing;
  return {
    create: freePlaces(pods, revision, Math.min(missing, room)),
    remove: [
      ...living.filter(isPodFinished),
      ...staying.slice(replicas).toReversed(),
      ...leaving.filter((pod) => !kept.includes(pod)).toReversed(),
    ],
    wanted,
    leaving,
  };

  function onCordoned(pod: Pod): boolean {
    return isCordoned(pod.spec.nodeName ?? '');
  }
}

function findsNoRoom({ status }: Pod): boolean {
  return status?.conditions?.some(({ type, status: is }) => type === 'PodScheduled' && is === 'False') === true;
}

/** What answers first, then what is costly to end, then what is older. */
function byWorth(a: Pod, b: Pod): number {
  const made = (pod: Pod) => pod.metadata.creationTimestamp ?? '';
  return (
    Number(isPodReady(b)) - Number(isPodReady(a)) ||
    costOf(b) - costOf(a) ||
    made(a).localeCompare(made(b)) ||
    indexOfPod(a) - indexOfPod(b)
  );
}

function costOf({ metadata }: Pod): number {
  const cost = Number(metadata.annotations?.[deletionCost] ?? 0);
  return Number.isFinite(cost) ? cost : 0;
}

/** The lowest places of the revision that no pod has, not even one that is going. */
function freePlaces(pods: readonly Pod[], revision: string, count: number): number[] {
  const taken = new Set(pods.filter((pod) => revisionOfPod(pod) === revision).map(indexOfPod));
  const free: number[] = [];
  for (let place = 0; free.length < count; place++) if (!taken.has(place)) free.push(place);
  return free;
}
