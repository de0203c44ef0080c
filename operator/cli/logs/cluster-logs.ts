// `windlass logs` on a cluster: all pods of a job or service, the lines of ended ones in order of time, those of running ones as they come.
import { isConditionTrue } from '#crds/conditions.ts';
import { label } from '#crds/names.ts';
import { InferenceService, TrainingJob } from '#crds/v1alpha1/index.ts';
import type { KubeObject } from '#crds/resource.ts';
import { reflect } from '#operator/framework/reflector.ts';
import { Store } from '#operator/framework/store.ts';
import { keyOf } from '#operator/kube/client.ts';
import { systemClock } from '#operator/kube/clock.ts';
import { Pod } from '#operator/kube/core.ts';
import { isNotFound, KubeError } from '#operator/kube/errors.ts';
import { WindlassError } from '#runtime/api/errors.ts';
import { inRankOrder, podState, rankOfPod } from '../status/pod-state.ts';
import { podLabels, podsOf } from '../status/gather.ts';
import { findObjects, parseReference, wordOf } from '../target/references.ts';
import type { ClusterTarget } from '../target/target.ts';
import { followPod } from './follow-pod.ts';
import { mergeLogs } from './merge.ts';
import { readLog } from './pod-log.ts';
import type { LogSelection } from './pod-log.ts';
import { createPrefix } from './prefix.ts';

export interface LogsOptions {
  /** KIND/NAME, KIND NAME, or the name of a job, service or pod of one. */
  readonly words: readonly string[];
  readonly follow: boolean;
  readonly previous: boolean;
  readonly rank?: number | undefined;
  readonly tail?: number | undefined;
  readonly sinceSeconds?: number | undefined;
  readonly coloured: boolean;
  /** Resolves when more may be written. */
  readonly write: (text: string) => Promise<void>;
  /** For what is no line of a log. */
  readonly remark: (text: string) => void;
  readonly signal: AbortSignal;
}

/** What is looked at: objects with their pods, or one pod of one. */
interface Subject {
  readonly owners: readonly KubeObject[];
  /** One pod only. */
  readonly pod?: string | undefined;
}

/** Ends when all is written; with --follow, when the job has ended, or the signal fires. Throws WL_OBJECT_NOT_FOUND, or what the API refuses. */
export async function clusterLogs(target: ClusterTarget, options: LogsOptions): Promise<void> {
  const subject = await findSubject(target, options.words);
  const isOfSeveral = subject.pod === undefined && options.rank === undefined && subject.owners.some(hasSeveralPods);
  const prefix = createPrefix({ named: isOfSeveral, coloured: options.coloured });
  const isWanted = (pod: Pod) =>
    (subject.pod === undefined || pod.metadata.name === subject.pod) &&
    (options.rank === undefined || rankOfPod(pod) === options.rank);
  if (options.follow) return await follow(target, subject, isWanted, prefix, options);
  const pods = inRankOrder((await Promise.all(subject.owners.map((owner) => podsOf(target.api, owner)))).flat()).filter(isWanted);
  if (pods.length === 0) throw noPods(subject, options);
  const logs = pods.map((pod) => ({ pod: pod.metadata.name, lines: finished(target, pod, options) }));
  for await (const { pod, text } of mergeLogs(logs)) {
    if (options.signal.aborted) return;
    await options.write(prefix(pod, text));
  }
}

async function findSubject(target: ClusterTarget, words: readonly string[]): Promise<Subject> {
  const reference = parseReference(words, { nameFirst: true });
  try {
    return { owners: await findObjects(target, reference, [TrainingJob, InferenceService]) };
  } catch (error) {
    const { name } = reference;
    if (!(error instanceof WindlassError) || name === undefined || reference.kind || target.namespace === undefined) throw error;
    const pod = await target.api.get(Pod, { namespace: target.namespace, name }).catch((reason: unknown) => {
      if (isNotFound(reason)) throw error;
      throw reason;
    });
    const { [label.job]: job, [label.service]: service } = pod.metadata.labels ?? {};
    const owner = job ?? service;
    if (owner === undefined)
      throw new WindlassError('WL_OBJECT_NOT_FOUND', `pod ${name} belongs to no job or service`, { cause: error });
    const kind = job === undefined ? InferenceService : TrainingJob;
    return { owners: await findObjects(target, { kind, name: owner }), pod: name };
  }
}

function hasSeveralPods(owner: KubeObject): boolean {
  if (owner.kind === InferenceService.kind) return true;
  const [, wanted = '1'] = (owner as TrainingJob).status?.summary?.ranks?.split('/') ?? [];
  return Number(wanted) > 1;
}

function noPods({ owners }: Subject, { rank }: LogsOptions): WindlassError {
  const who = owners.map(wordOf).join(' and ');
  const states = owners.map((owner) => (owner as TrainingJob).status?.state).filter((state) => state !== undefined);
  const why = states.length > 0 ? ` (${states.join(', ')})` : '';
  return new WindlassError('WL_OBJECT_NOT_FOUND', `${who} has no pod${rank === undefined ? '' : ` of rank ${rank}`} now${why}`);
}

/** The log of a pod as it is now; nothing, and a remark, if it has none yet. */
async function* finished(target: ClusterTarget, pod: Pod, options: LogsOptions) {
  const { previous, signal, remark } = options;
  try {
    yield* readLog(target.transport, keyOf(pod), { ...selectionOf(pod, options), previous }, signal);
  } catch (error) {
    if (!(error instanceof KubeError) || error.reason === 'Forbidden' || error.reason === 'Unauthorized') throw error;
    remark(`(${pod.metadata.name}, ${podState(pod)}: ${error.message})\n`);
  }
}

function selectionOf(pod: Pod, { tail, sinceSeconds }: LogsOptions): LogSelection {
  return { container: pod.spec.containers[0]?.name ?? '', tail, sinceSeconds };
}

const lookEveryMs = 1000;

async function follow(
  target: ClusterTarget,
  { owners }: Subject,
  isWanted: (pod: Pod) => boolean,
  prefix: (pod: string, text: string) => string,
  options: LogsOptions,
): Promise<void> {
  const { write, remark } = options;
  const stop = new AbortController();
  const signal = AbortSignal.any([options.signal, stop.signal]);
  const changes = createBell();
  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => {});
  const onError = (error: unknown) => {
    if (error instanceof KubeError && (error.reason === 'Forbidden' || error.reason === 'Unauthorized')) failed.reject(error);
  };
  const stores = owners.map((owner) => {
    const { namespace } = owner.metadata;
    const store = new Store(Pod, {}, namespace === undefined ? undefined : [namespace]);
    store.onChange(() => changes.ring());
    const selector = { namespace, labels: podLabels(owner)! };
    const running = reflect({ client: target.api, store, clock: systemClock, selector, onError }, signal);
    return { store, running };
  });
  /** Pods that are or were read, by uid. */
  const known = new Map<string, { name: string; isRead: boolean }>();
  const readers: Promise<void>[] = [];

  const start = (store: Store<Pod>, pod: Pod) => {
    const { uid = '', name } = pod.metadata;
    const entry = { name, isRead: false };
    if ([...known.values()].some((other) => other.name === name)) remark(`(${name} is a new pod${whereabouts(pod)})\n`);
    known.set(uid, entry);
    const read = async () => {
      const lines = followPod({
        look: () => {
          const now = store.get(keyOf(pod));
          return now?.metadata.uid === uid ? now : undefined;
        },
        read: (selection) => readLog(target.transport, keyOf(pod), selection, signal),
        pause: (ms) => changes.pause(ms, signal),
        selection: selectionOf(pod, options),
        onTrouble: (error) => remark(`(${name}: ${error.message}; trying again)\n`),
        signal,
      });
      for await (const { text } of lines) await write(prefix(name, text));
      entry.isRead = true;
      changes.ring();
    };
    readers.push(read().catch(failed.reject));
  };

  const untilOver = async () => {
    await Promise.all(stores.map(({ store }) => store.whenSynced()));
    while (!signal.aborted) {
      for (const { store } of stores)
        for (const pod of inRankOrder(store.list())) if (isWanted(pod) && !known.has(pod.metadata.uid ?? '')) start(store, pod);
      const isIdle = [...known.values()].every(({ isRead }) => isRead);
      if (isIdle && (await Promise.all(owners.map((owner) => isOver(target, owner)))).every(Boolean)) return;
      await changes.pause(lookEveryMs, signal);
    }
  };
  try {
    await Promise.race([untilOver(), failed.promise]);
  } finally {
    stop.abort();
    await Promise.all([...stores.map(({ running }) => running), ...readers]);
  }
}

function whereabouts({ metadata: { labels }, spec: { nodeName } }: Pod): string {
  const attempt = labels?.[label.attempt];
  return `${attempt === undefined ? '' : ` of attempt ${attempt}`}${nodeName === undefined ? '' : `, on ${nodeName}`}`;
}

/** Whether nothing more will come of an object: it is gone, or a job that has ended. */
async function isOver({ api }: ClusterTarget, owner: KubeObject): Promise<boolean> {
  const type = owner.kind === TrainingJob.kind ? TrainingJob : InferenceService;
  try {
    const now = await api.get<KubeObject>(type, keyOf(owner));
    if (now.metadata.uid !== owner.metadata.uid) return true;
    return ['Complete', 'Failed'].some((end) => isConditionTrue(now as TrainingJob, end as 'Complete' | 'Failed'));
  } catch (error) {
    if (isNotFound(error)) return true;
    if (error instanceof KubeError && error.reason !== 'Forbidden' && error.reason !== 'Unauthorized') return false;
    throw error;
  }
}

/** Wakes all who pause. */
function createBell() {
  let rung = Promise.withResolvers<void>();
  return {
    ring() {
      rung.resolve();
      rung = Promise.withResolvers<void>();
    },
    async pause(ms: number, signal: AbortSignal): Promise<void> {
      if (signal.aborted) return;
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, ms);
      const aborted = () => resolve();
      signal.addEventListener('abort', aborted);
      await Promise.race([promise, rung.promise]);
      signal.removeEventListener('abort', aborted);
      clearTimeout(timer);
    },
  };
}
