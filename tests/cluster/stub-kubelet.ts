// A kubelet without containers: binds pods to a node that does not exist, or leaves that to a scheduler; says that they run, and ends them as a script tells.
import { formatKey, keyOf } from '#operator/kube/client.ts';
import { isoTime, systemClock } from '#operator/kube/clock.ts';
import { isPodFinished, Pod } from '#operator/kube/core.ts';
import { isConflict, isNotFound } from '#operator/kube/errors.ts';
import { reflect } from '#operator/framework/reflector.ts';
import { Store } from '#operator/framework/store.ts';
import type { TerminationMessage } from '#runtime/api/messages.ts';
import { connect } from './kube.ts';

/** How the container of a running pod ends; undefined lets it run on. */
export type Fate = (pod: Pod) => { exitCode: number; words?: TerminationMessage; reason?: string; evicted?: string } | undefined;

/** What keeps a pod from its next step, in the words of scheduler and kubelet: from a node, from running, from its end. */
interface Hindrance {
  unschedulable?: string;
  waiting?: { reason: string; message: string };
  staysForever?: boolean;
}

export interface StubKubelet extends AsyncDisposable {
  /** May be changed while pods run. */
  fate: Fate;
  /** Which pods it starts at all; the others stay as they are. May be changed. */
  starts: (pod: Pod) => boolean;
  /** May be changed while pods run; nothing hinders them if absent. */
  hinder: ((pod: Pod) => Hindrance | undefined) | undefined;
  /** Names of pods, with their attempt of a job, in the order in which they were seen. */
  readonly seen: string[];
  /** Looks at all pods again. */
  nudge(): void;
}

interface StubKubeletOptions {
  /** Cluster to work in; that of the run if absent. */
  kubeconfig?: string;
  /** Leaves it to a scheduler to find nodes. */
  hasScheduler?: boolean;
  /** A connection to share, which stays open; one of its own if absent. */
  through?: Awaited<ReturnType<typeof connect>>;
}

export async function startStubKubelet(
  namespace: string,
  fate: Fate,
  { kubeconfig, hasScheduler = false, through }: StubKubeletOptions = {},
): Promise<StubKubelet> {
  const { client, transport } = through ?? (await connect(kubeconfig));
  const store = new Store(Pod, {}, [namespace]);
  const abort = new AbortController();
  const busy = new Map<string, Promise<void>>();
  const failures: unknown[] = [];
  const uids = new Set<string>();

  const step = async (pod: Pod): Promise<void> => {
    const key = keyOf(pod);
    const hindrance = kubelet.hinder?.(pod) ?? {};
    // Of this version only: what is seen here may be older than what was told, and a pod that runs does not go back.
    const { resourceVersion } = pod.metadata;
    const tell = (status: object) => client.patchStatus(Pod, key, status, { resourceVersion });
    if (pod.metadata.deletionTimestamp !== undefined) {
      if (hindrance.staysForever) return;
      await client.delete(Pod, key, { gracePeriodSeconds: 0, uid: pod.metadata.uid });
      return;
    }
    if (isPodFinished(pod) || !kubelet.starts(pod)) return;
    if (pod.spec.nodeName === undefined && hindrance.unschedulable !== undefined) {
      const refused = { type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: hindrance.unschedulable };
      if (pod.status?.conditions?.some(({ message }) => message === refused.message)) return;
      await tell({ conditions: [{ ...refused, lastTransitionTime: isoTime(Date.now()) }] });
      return;
    }
    if (pod.spec.nodeName === undefined) {
      if (hasScheduler) return;
      const path = `/api/v1/namespaces/${namespace}/pods/${pod.metadata.name}/binding`;
      const target = { apiVersion: 'v1', kind: 'Node', name: 'node-1' };
      const body = { apiVersion: 'v1', kind: 'Binding', metadata: { name: pod.metadata.name, namespace }, target };
      await transport.request({ method: 'POST', path, body });
      return;
    }
    const { name } = pod.spec.containers[0]!;
    const status = { name, image: pod.spec.containers[0]!.image, imageID: '', restartCount: 0 };
    if (pod.status?.phase === 'Pending' && hindrance.waiting) {
      const { waiting } = hindrance;
      if (pod.status.containerStatuses?.[0]?.state?.waiting?.message === waiting.message) return;
      await tell({
        startTime: isoTime(Date.now()),
        conditions: [{ type: 'Ready', status: 'False' }],
        containerStatuses: [{ ...status, ready: false, state: { waiting } }],
      });
      return;
    }
    if (pod.status?.phase !== 'Running') {
      await tell({
        phase: 'Running',
        podIP: '10.0.0.1',
        startTime: isoTime(Date.now()),
        conditions: [{ type: 'Ready', status: 'True' }],
        containerStatuses: [{ ...status, ready: true, state: { running: { startedAt: isoTime(Date.now()) } } }],
      });
      return;
    }
    const end = kubelet.fate(pod);
    if (!end) return;
    const { exitCode, words, reason = exitCode === 0 ? 'Completed' : 'Error', evicted } = end;
    const message = words ? JSON.stringify(words) : '';
    const terminated = { exitCode, reason, finishedAt: isoTime(Date.now()), message };
    await tell({
      phase: exitCode === 0 ? 'Succeeded' : 'Failed',
      ...(evicted === undefined ? {} : { reason: 'Evicted', message: evicted }),
      conditions: [{ type: 'Ready', status: 'False' }],
      containerStatuses: [{ ...status, ready: false, state: { terminated } }],
    });
  };
  const look = (pod: Pod): void => {
    const key = formatKey(keyOf(pod));
    const latest = async () => {
      const current = store.get(keyOf(pod));
      if (current && !abort.signal.aborted) await step(current);
    };
    const done = (busy.get(key) ?? Promise.resolve()).then(latest).catch((error: unknown) => {
      // Another step, or the controller, was there before: its event leads to the next one.
      if (!isConflict(error) && !isNotFound(error) && !abort.signal.aborted) failures.push(error);
    });
    busy.set(key, done);
  };
  store.onChange(({ object }) => {
    if (!object) return;
    if (!uids.has(object.metadata.uid!)) {
      uids.add(object.metadata.uid!);
      kubelet.seen.push(`${object.metadata.name} ${object.metadata.labels?.['windlass.dev/attempt'] ?? ''}`.trim());
    }
    look(object);
  });
  const kubelet: StubKubelet = {
    fate,
    starts: () => true,
    hinder: undefined,
    seen: [],
    nudge: () => store.list().forEach(look),
    async [Symbol.asyncDispose]() {
      abort.abort();
      await Promise.all([reflecting, ...busy.values()]);
      if (!through) transport.close();
      if (failures.length > 0) throw new AggregateError(failures, 'the stub kubelet failed');
    },
  };
  const reflecting = reflect({ client, store, clock: systemClock, selector: { namespace } }, abort.signal);
  await store.whenSynced();
  return kubelet;
}
