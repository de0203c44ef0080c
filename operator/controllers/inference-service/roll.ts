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
  /** Milliseconds since 1970. */
  now: number;
}

export interface RollStep {
  /** Places of pods to make. */
  create: number[];
  remove: Pod[];
  /** Pods of the revision that may stay: at most `replicas`, the best first. */
  wanted: Pod[];
  /** Pods that go when others answer in their place: those of other revisions, and with Surge those on cordoned nodes. */
  leaving: Pod[];
  /** With DrainFirst: pods that end, or do from now on, and whose room others wait for. */
  awaited: Pod[];
}

/** Lower goes first when a service shrinks: the annotation that ReplicaSets heed. */
const deletionCost = 'controller.kubernetes.io/pod-deletion-cost';

/**
 * The next step. With Surge, pods that are going count for nothing: others are made in their place at once. With DrainFirst they hold
 * their room until they have ended.
 */
export function rollStep({ pods, revision, replicas, strategy, isCordoned, now }: Rolling): RollStep {
  const living = pods.filter((pod) => pod.metadata.deletionTimestamp === undefined);
  const going = pods.filter((pod) => holdsRoomUntil(pod) > now);
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
  // An old one that doesn't answer goes anyway, and makes the room.
  const isFull = placed.length + kept.length >= replicas;
  if (drainsFirst && placed.length < replicas && going.length === 0 && isFull && placed.every(isPodReady)) kept.pop();
  const room = drainsFirst ? Math.max(0, replicas - running.length - going.length) : missing;
  const create = freePlaces(pods, revision, Math.min(missing, room));
  const outgoing = leaving.filter((pod) => !kept.includes(pod)).toReversed();
  return {
    create,
    remove: [...living.filter(isPodFinished), ...staying.slice(replicas).toReversed(), ...outgoing],
    wanted,
    leaving,
    awaited: drainsFirst && create.length < missing ? [...going, ...outgoing] : [],
  };

  function onCordoned(pod: Pod): boolean {
    return isCordoned(pod.spec.nodeName ?? '');
  }
}

/** Beyond the time that it has to end, a pod may take so long, as clocks differ and nodes are slow. */
const lateMs = 30_000;

/**
 * Time until which a pod that is going holds the room of another, in milliseconds since 1970; 0 if it holds none. One that is late is on a node
 * that is gone, and may stand in the API for ever.
 */
export function holdsRoomUntil(pod: Pod): number {
  const { deletionTimestamp } = pod.metadata;
  return deletionTimestamp === undefined || isPodFinished(pod) ? 0 : Date.parse(deletionTimestamp) + lateMs;
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
