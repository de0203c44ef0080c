// Collects for a report what a cluster tells of jobs and services, as far as the user may read it.
import { label } from '#crds/names.ts';
import { InferenceService, ModelVersion, resources, TrainingJob } from '#crds/v1alpha1/index.ts';
import type { Custom, KubeObject, Resource } from '#crds/resource.ts';
import { keyOf } from '#operator/kube/client.ts';
import type { ResourceType } from '#operator/kube/client.ts';
import { Event, Pod, Service } from '#operator/kube/core.ts';
import { readLog } from '../logs/pod-log.ts';
import { inRankOrder } from '../status/pod-state.ts';
import { findObjects, mainKinds, parseReference } from '../target/references.ts';
import type { ClusterTarget } from '../target/target.ts';
import type { Collected } from './collected.ts';
import { eventText } from './event-text.ts';

/** Newest lines and bytes of each log, and bytes of all of them: what an issue tracker takes, compressed. */
const logLines = 5000;
const logChars = 1 << 20;
const allLogChars = 64 << 20;
/** Logs read at the same time. */
const readers = 8;
/** Where the chart is installed, if its Deployment may not be looked for everywhere. */
const systemNamespace = 'windlass-system';
const chartLabels = { 'app.kubernetes.io/name': 'windlass' };
const Deployment: ResourceType<Custom<object, object>> = {
  group: 'apps',
  version: 'v1',
  kind: 'Deployment',
  plural: 'deployments',
  namespaced: true,
};

/** Of the objects that `words` name, or of all in the namespace. Throws WL_OBJECT_NOT_FOUND for a name that nothing has. */
export async function collectFromCluster(
  target: ClusterTarget,
  words: readonly string[],
  collected: Collected,
  signal: AbortSignal,
): Promise<void> {
  const { authorization } = (await target.transport.server.credentials()).headers;
  if (authorization !== undefined) collected.learn(authorization.replace(/^\w+ +/, ''));
  const own = await ownObjects(target, words, collected);
  const owners = own.filter(({ kind }) => kind === TrainingJob.kind || kind === InferenceService.kind);
  const uids = new Set(owners.map(({ metadata }) => metadata.uid));
  const isOwned = ({ metadata }: KubeObject) => metadata.ownerReferences?.some(({ uid }) => uids.has(uid)) ?? false;
  const pods = (await listOrMiss(target, Pod, collected)).filter(isOwned);
  const services = (await listOrMiss(target, Service, collected)).filter(isOwned);
  const operator = await operatorObjects(target, collected);
  collected.addObjects([...own, ...pods, ...services, ...operator.objects]);

  const events = await listOrMiss(target, Event, collected);
  const all = new Set([...own, ...pods].map(({ metadata }) => metadata.uid));
  collected.addText('events.txt', eventText(events.filter(({ regarding }) => all.has(regarding?.uid))));
  await target.transport.request({ method: 'GET', path: '/version' }).then(
    (version) => collected.addText('kubernetes-version.json', `${JSON.stringify(version, null, 2)}\n`),
    (error: unknown) => collected.miss('the version of the API server', error),
  );
  await collectLogs(target, [...inRankOrder(pods), ...operator.pods], collected, signal);
}

/** What was named with what it leads to, or everything; runtimes in any case. */
async function ownObjects(target: ClusterTarget, words: readonly string[], collected: Collected): Promise<KubeObject[]> {
  const reference = parseReference(words, { nameFirst: true });
  const runtimes = resources.filter((kind) => !mainKinds.includes(kind));
  const others = (await Promise.all(runtimes.map((kind) => listOrMiss(target, kind, collected)))).flat();
  if (reference.name === undefined) {
    const main = await Promise.all(mainKinds.map((kind) => listOrMiss(target, kind, collected)));
    return [...main.flat(), ...others];
  }
  const named = await findObjects(target, reference);
  const versions = (await listOrMiss(target, ModelVersion, collected)).filter(
    ({ metadata, spec }) =>
      metadata.labels?.[label.model] === reference.name ||
      spec.model === reference.name ||
      named.some((object) => object.metadata.uid === spec.source?.uid),
  );
  const known = new Set(named.map(({ metadata }) => metadata.uid));
  return [...named, ...versions.filter(({ metadata }) => !known.has(metadata.uid)), ...others];
}

async function listOrMiss<T extends KubeObject>(
  { api, namespace }: ClusterTarget,
  type: ResourceType<T> | Resource,
  collected: Collected,
  options: { namespace?: string | undefined; labels?: Record<string, string> } = type.namespaced ? { namespace } : {},
): Promise<T[]> {
  try {
    return (await api.list(type as ResourceType<T>, options)).items;
  } catch (error) {
    const where = options.namespace === undefined ? '' : ` of namespace ${options.namespace}`;
    collected.miss(`${type.plural}${where}`, error);
    return [];
  }
}

/** The operator's own Deployment and pods: everywhere, or where the chart says to install it. */
async function operatorObjects({ api }: ClusterTarget, collected: Collected): Promise<{ objects: KubeObject[]; pods: Pod[] }> {
  let missed: unknown;
  for (const namespace of [undefined, systemNamespace]) {
    try {
      const options = { namespace, labels: chartLabels };
      const [deployments, pods] = await Promise.all([api.list(Deployment, options), api.list(Pod, options)]);
      return { objects: [...deployments.items, ...pods.items], pods: pods.items };
    } catch (error) {
      missed = error;
    }
  }
  collected.miss('the operator and its log', missed);
  return { objects: [], pods: [] };
}

/** Of every container, and of the one before its last restart; what would be too much is left out by name. */
async function collectLogs(
  target: ClusterTarget,
  pods: readonly Pod[],
  collected: Collected,
  signal: AbortSignal,
): Promise<void> {
  const wanted = pods.flatMap((pod) =>
    (pod.status?.containerStatuses ?? []).flatMap(({ name, restartCount, state, lastState }) => [
      ...(state?.running || state?.terminated || lastState?.terminated ? [{ pod, container: name, previous: false }] : []),
      ...(restartCount > 0 ? [{ pod, container: name, previous: true }] : []),
    ]),
  );
  const limit = Math.min(logChars, Math.floor(allLogChars / Math.max(1, wanted.length)));
  const texts = new Map<object, { path: string; text: string }>();
  const queue = [...wanted];
  const work = async () => {
    for (let log = queue.shift(); log && !signal.aborted; log = queue.shift()) {
      const { pod, container, previous } = log;
      const { namespace = '', name } = pod.metadata;
      const path = `logs/${namespace}/${name}/${container}${previous ? '.previous' : ''}.log`;
      try {
        texts.set(log, { path, text: await newest(target, pod, { container, previous, tail: logLines }, limit, signal) });
      } catch (error) {
        collected.miss(path, error);
      }
    }
  };
  await Promise.all(Array.from({ length: readers }, work));
  for (const log of wanted) {
    const read = texts.get(log);
    if (read) collected.addText(read.path, read.text);
  }
}

/** The last `limit` characters of a log, in whole lines. */
async function newest(
  { transport }: ClusterTarget,
  pod: Pod,
  selection: { container: string; previous: boolean; tail: number },
  limit: number,
  signal: AbortSignal,
): Promise<string> {
  const lines: string[] = [];
  let length = 0;
  for await (const { text } of readLog(transport, keyOf(pod), selection, signal)) {
    lines.push(`${text}\n`);
    length += text.length + 1;
    while (length > limit && lines.length > 1) length -= lines.shift()!.length;
  }
  return lines.join('');
}
