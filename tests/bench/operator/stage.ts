// What the bench of the operator plays on: a real API server with its audit log and scheduler, nodes on paper, the stub kubelet.
import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parse } from 'yaml';
import { storage } from '#crds/names.ts';
import type { KubeObject, ResourceType } from '#crds/resource.ts';
import { resources } from '#crds/v1alpha1/index.ts';
import { HttpKube } from '#operator/kube/http-kube.ts';
import { Transport } from '#operator/kube/transport.ts';
import { startApiServer } from '../../../hack/test-cluster/cluster.ts';
import { operatorAccess, serverOf, writeKubeconfig } from './access.ts';
import type { Access } from './access.ts';
import { installProgram } from './installed-program.ts';
import { processesOf } from './processor-log.ts';
import { AuditLog, prepareAuditLog } from '../../cluster/audit-log.ts';
import type { Write } from '../../cluster/audit-log.ts';
import { operatorWrites } from '../../cluster/operator-writes.ts';
import type { KubeletAnswer, KubeletRequest } from './kubelet.ts';

const root = resolve(import.meta.dirname, '../../..');
/** Namespace of the operator's account and lease. */
export const systemNamespace = 'windlass-system';
const nodes = 8;
const podsPerNode = 10_000;
/** The log is complete when nothing has been added to it for this long. */
const quietMs = 1000;

export interface Stage extends AsyncDisposable {
  /** The bench's own client, as the administrator. */
  readonly client: HttpKube;
  /** The operator's account. */
  readonly operator: Access;
  readonly operatorKubeconfig: string;
  /** Path of what Node runs, as an image has it. */
  readonly program: string;
  /** Process ids of the control plane and the kubelet, by name. */
  readonly processes: Readonly<Record<string, number>>;
  /** Makes a namespace in which the claims of our pods are bound. */
  namespace(name: string): Promise<void>;
  /** All writes since the last call, when the cluster has come to rest. */
  settled(): Promise<Write[]>;
  /** Renewals of the operator's lease so far. */
  leaseRenewals(): number;
  /** Ends what runs in a namespace, and waits for it. */
  clear(namespace: string): Promise<void>;
  askKubelet(request: KubeletRequest): Promise<void>;
}

const kind = (group: string, version: string, name: string, plural: string, namespaced: boolean): ResourceType => ({
  group,
  version,
  kind: name,
  plural,
  namespaced,
});
const Namespace = kind('', 'v1', 'Namespace', 'namespaces', false);
const Node = kind('', 'v1', 'Node', 'nodes', false);
const Volume = kind('', 'v1', 'PersistentVolume', 'persistentvolumes', false);
const Claim = kind('', 'v1', 'PersistentVolumeClaim', 'persistentvolumeclaims', true);
const Definition = kind('apiextensions.k8s.io', 'v1', 'CustomResourceDefinition', 'customresourcedefinitions', false);

export async function openStage(say: (line: string) => void): Promise<Stage> {
  await using opened = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'wl-bench-'));
  opened.defer(() => rm(folder, { recursive: true }));
  const log = await prepareAuditLog(folder);
  const cluster = opened.use(
    await startApiServer({
      with: ['scheduler'],
      // A beta that is off in clusters by default: the scheduler places pods one by one.
      gangScheduling: false,
      apiServerArgs: log.apiServerArgs,
      say,
    }),
  );
  const audit = await AuditLog.open(log.path);
  opened.defer(() => audit.close());
  const admin: Access = { url: cluster.url, ca: cluster.ca, token: cluster.token };
  const transport = new Transport(serverOf(admin), { userAgent: 'bench' });
  opened.defer(() => transport.close());
  const client = new HttpKube(transport);

  await installKinds(client);
  for (let node = 1; node <= nodes; node += 1) await addNode(client, `node-${node}`);
  await client.create(Namespace, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: systemNamespace } });
  const operator = await operatorAccess(client, transport, admin, systemNamespace);
  const operatorKubeconfig = join(folder, 'kubeconfig');
  await writeKubeconfig(operatorKubeconfig, operator, systemNamespace);
  const kubelet = opened.use(await startKubelet(admin));
  const program = await installProgram(join(folder, 'program'));

  let leases = 0;
  const settled = async (): Promise<Write[]> => {
    const writes: Write[] = [];
    for (let quiet = 0; quiet < quietMs; quiet += 100) {
      await sleep(100);
      const all = await audit.read();
      const more = all.filter(({ resource }) => resource !== 'leases');
      leases += operatorWrites(all).filter(({ resource }) => resource === 'leases').length;
      if (more.length > 0) quiet = 0;
      writes.push(...more);
    }
    return writes;
  };
  const remove = async (path: string): Promise<void> => {
    await transport.request({ method: 'DELETE', path: `${path}?gracePeriodSeconds=0` });
  };
  const parts = opened.move();
  return {
    client,
    operator,
    operatorKubeconfig,
    program,
    processes: { ...processesOf(cluster.access.folder), kubelet: kubelet.pid },
    namespace: (name) => addNamespace(client, name),
    settled,
    leaseRenewals: () => leases,
    async clear(namespace) {
      await remove(`/apis/windlass.dev/v1alpha1/namespaces/${namespace}/trainingjobs`);
      await remove(`/api/v1/namespaces/${namespace}/pods`);
      await settled();
    },
    askKubelet: (request) => kubelet.ask(request),
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  };
}

async function installKinds(client: HttpKube): Promise<void> {
  for (const { group, plural } of resources) {
    const crd = parse(await readFile(join(root, `crds/${group}_${plural}.yaml`), 'utf8')) as KubeObject;
    await client.apply(Definition, crd, { fieldManager: 'bench' });
  }
  for (const type of resources) {
    const served = () =>
      client.list(type).then(
        () => true,
        () => false,
      );
    while (!(await served())) await sleep(100);
  }
}

/** Nobody keeps it alive, and without a controller manager nobody notices. */
async function addNode(client: HttpKube, name: string): Promise<void> {
  const capacity = { cpu: '10k', memory: '100Ti', pods: String(podsPerNode) };
  const labels = { 'kubernetes.io/hostname': name };
  await client.create(Node, { apiVersion: 'v1', kind: 'Node', metadata: { name, labels } });
  const conditions = [{ type: 'Ready', status: 'True', reason: 'KubeletReady', message: '' }];
  await client.patchStatus(Node, { name }, { capacity, allocatable: capacity, conditions });
  // The API server taints new nodes as not ready.
  await client.patch(Node, { name }, { spec: { taints: null } });
}

async function addNamespace(client: HttpKube, name: string): Promise<void> {
  await client.create(Namespace, { apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
  for (const claim of [storage.jobsClaim, storage.modelsClaim]) {
    const volume = `${name}-${claim}`;
    const common = { accessModes: ['ReadWriteMany'], storageClassName: 'shared', volumeMode: 'Filesystem' };
    const spec = { ...common, volumeName: volume, resources: { requests: { storage: '1Gi' } } };
    const metadata = { name: claim, namespace: name, annotations: { 'pv.kubernetes.io/bind-completed': 'yes' } };
    const made = await client.create(Claim, { apiVersion: 'v1', kind: 'PersistentVolumeClaim', metadata, spec } as KubeObject);
    await client.create(Volume, {
      apiVersion: 'v1',
      kind: 'PersistentVolume',
      metadata: { name: volume },
      spec: {
        ...common,
        capacity: { storage: '1Gi' },
        hostPath: { path: '/nowhere' },
        claimRef: { apiVersion: 'v1', kind: 'PersistentVolumeClaim', namespace: name, name: claim, uid: made.metadata.uid },
      },
    } as KubeObject);
    await client.patchStatus(Claim, { namespace: name, name: claim }, { phase: 'Bound' });
    await client.patchStatus(Volume, { name: volume }, { phase: 'Bound' });
  }
}

async function startKubelet(access: Access) {
  const child = fork(join(import.meta.dirname, 'kubelet.ts'), [JSON.stringify(access)]);
  await answerOf<KubeletAnswer>(child);
  return {
    pid: child.pid!,
    async ask(request: KubeletRequest): Promise<void> {
      const answered = answerOf<KubeletAnswer>(child, ({ kind }) => kind === 'done');
      child.send(request);
      await answered;
    },
    [Symbol.asyncDispose]: () => endOf(child),
  };
}

export async function endOf(child: ChildProcess, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'close');
  child.kill(signal);
  await ended;
}

/** The next message that counts; throws if the process ends before. */
export function answerOf<T>(child: ChildProcess, counts: (answer: T) => boolean = () => true): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const heard = (message: T): void => {
    if (counts(message)) resolve(message);
  };
  const ended = (code: number | null): void => reject(new Error(`a process of the bench ended with ${code}`));
  child.on('message', heard).once('close', ended);
  return promise.finally(() => child.off('message', heard).off('close', ended));
}
