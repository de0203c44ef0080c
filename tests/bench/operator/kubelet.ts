// A kubelet without containers, as a process: says of every pod that a scheduler has bound that it runs, lets pods go that are deleted, and
// ends one when it is told to. It only writes the status of pods.
import type { Pod } from '#operator/kube/core.ts';
import { isNotFound } from '#operator/kube/errors.ts';
import { jsonLines } from '#operator/kube/json-lines.ts';
import { Transport } from '#operator/kube/transport.ts';
import type { Access } from './access.ts';
import { serverOf } from './access.ts';

/** What it is asked: how many pods of a namespace must run before it answers; or which pod shall end, and how. */
export type KubeletRequest =
  | { readonly kind: 'running'; readonly namespace: string; readonly count: number }
  | { readonly kind: 'end'; readonly namespace: string; readonly name: string; readonly exitCode: number };
export type KubeletAnswer = { readonly kind: 'watching' | 'done' };

const access = JSON.parse(process.argv[2] ?? '') as Access;
const transport = new Transport(serverOf(access), { userAgent: 'stub-kubelet', maxRequests: 16, watchIdleMs: 3_600_000 });
const tell = (answer: KubeletAnswer): void => void process.send?.(answer);
/** Names of the running pods of each namespace. */
const running = new Map<string, Set<string>>();
/** Pods that are being started: a watch that begins again tells of them once more. */
const starting = new Set<string>();
let asked: { namespace: string; count: number } | undefined;

const pathOf = ({ namespace, name }: { namespace?: string | undefined; name: string }): string =>
  `/api/v1/namespaces/${namespace}/pods/${name}`;
const now = (): string => new Date().toISOString().replace(/\.\d+Z$/, 'Z');

async function setStatus(key: { namespace?: string | undefined; name: string }, status: object): Promise<void> {
  const contentType = 'application/merge-patch+json';
  await transport.request({ method: 'PATCH', path: `${pathOf(key)}/status`, body: { status }, contentType });
}

async function start({ metadata, spec }: Pod): Promise<void> {
  const { name, image } = spec.containers[0]!;
  const time = now();
  await setStatus(metadata, {
    phase: 'Running',
    podIP: '10.0.0.1',
    startTime: time,
    conditions: ['PodScheduled', 'Initialized', 'ContainersReady', 'Ready'].map((type) => ({
      type,
      status: 'True',
      lastTransitionTime: time,
    })),
    containerStatuses: [
      { name, image, imageID: '', restartCount: 0, ready: true, started: true, state: { running: { startedAt: time } } },
    ],
  });
}

async function startOnce(pod: Pod): Promise<void> {
  const { uid = '' } = pod.metadata;
  if (starting.has(uid)) return;
  starting.add(uid);
  try {
    await start(pod);
  } finally {
    starting.delete(uid);
  }
}

async function remove({ metadata: { uid, ...key } }: Pod): Promise<void> {
  await transport.request({ method: 'DELETE', path: pathOf(key), body: { gracePeriodSeconds: 0, preconditions: { uid } } });
}

function check(): void {
  if (!asked || (running.get(asked.namespace)?.size ?? 0) < asked.count) return;
  asked = undefined;
  tell({ kind: 'done' });
}

function see(type: string, pod: Pod): void {
  const { namespace = '', name, deletionTimestamp } = pod.metadata;
  const names = running.get(namespace) ?? new Set<string>();
  running.set(namespace, names);
  if (type === 'DELETED') {
    names.delete(name);
    return;
  }
  const failed = (error: unknown): void => {
    if (!isNotFound(error)) console.error(error);
  };
  if (deletionTimestamp !== undefined) void remove(pod).catch(failed);
  else if (pod.spec.nodeName !== undefined && pod.status?.phase === 'Pending') startOnce(pod).catch(failed);
  else if (pod.status?.phase === 'Running') names.add(name);
  check();
}

process.on('message', (request: KubeletRequest) => {
  if (request.kind === 'running') {
    asked = request;
    check();
    return;
  }
  const { exitCode } = request;
  running.get(request.namespace)?.delete(request.name);
  const time = now();
  const state = { terminated: { exitCode, startedAt: time, finishedAt: time } };
  const container = { name: 'agent', image: '', imageID: '', restartCount: 0, ready: false, state };
  const status = { phase: 'Failed', conditions: [{ type: 'Ready', status: 'False' }], containerStatuses: [container] };
  void setStatus(request, status).then(() => tell({ kind: 'done' }));
});
process.on('disconnect', () => process.exit());

/** What exists is told first. The API server ends the watch of whoever is slow; then all is told once more. */
const path =
  '/api/v1/pods?watch=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=36000';
const { signal } = new AbortController();
for (;;) {
  running.clear();
  for await (const line of jsonLines(transport.stream({ method: 'GET', path }, signal))) {
    const { type, object } = line as { type: string; object: Pod };
    if (type === 'ERROR') break;
    if (type === 'BOOKMARK') tell({ kind: 'watching' });
    else see(type, object);
  }
}
