// A control plane with the real scheduler, and nodes that are objects: a kubelet without containers says that pods run.
import { vi } from 'vitest';
import { label } from '#crds/names.ts';
import { TrainingJob } from '#crds/v1alpha1/index.ts';
import { lastWords, trainingJob } from '#operator/controllers/fixtures.ts';
import type { KubeObject, ResourceType } from '#operator/kube/client.ts';
import { isoTime } from '#operator/kube/clock.ts';
import { Pod } from '#operator/kube/core.ts';
import type { HttpKube } from '#operator/kube/http-kube.ts';
import { PodGroup } from '#operator/kube/pod-group.ts';
import { startApiServer } from '../../hack/test-cluster/cluster.ts';
import type { ApiServerOptions, TestCluster } from '../../hack/test-cluster/cluster.ts';
import { connect, newNamespace } from '../cluster/kube.ts';
import { startOperator } from '../cluster/operator-process.ts';
import { startStubKubelet } from '../cluster/stub-kubelet.ts';
import type { Fate } from '../cluster/stub-kubelet.ts';

export const waiting = { timeout: 120_000, interval: 25 };

const kind = (group: string, kind: string, plural: string, namespaced: boolean): ResourceType => ({
  group,
  version: 'v1',
  kind,
  plural,
  namespaced,
});
export const Node = kind('', 'Node', 'nodes', false);
const PersistentVolume = kind('', 'PersistentVolume', 'persistentvolumes', false);
const PersistentVolumeClaim = kind('', 'PersistentVolumeClaim', 'persistentvolumeclaims', true);
const PriorityClass = kind('scheduling.k8s.io', 'PriorityClass', 'priorityclasses', false);

export interface ScheduledCluster extends AsyncDisposable {
  readonly cluster: TestCluster;
  readonly client: HttpKube;
}

export async function startScheduledCluster(
  options: Pick<ApiServerOptions, 'topologyScheduling'> = {},
): Promise<ScheduledCluster> {
  const cluster = await startApiServer({
    with: ['controller-manager', 'scheduler'],
    // Nodes without a kubelet would soon be taken for lost.
    controllerManagerArgs: ['--controllers=*,-node-lifecycle-controller'],
    say: (line) => process.stderr.write(`cluster: ${line}\n`),
    ...options,
  });
  const { client, transport } = await connect(cluster.kubeconfig);
  const end = async () => {
    transport.close();
    await cluster.stop();
  };
  return { cluster, client, [Symbol.asyncDispose]: end };
}

export const rankOf = (pod: Pod) => Number(pod.metadata.labels?.[label.rank]);
export const isIn = (state: string) => (job: TrainingJob) => job.status?.state === state;
export const gangOf = (job: TrainingJob) => {
  const { status, reason } = job.status?.conditions?.find(({ type }) => type === 'GangScheduled') ?? {};
  return `${status} ${reason}`;
};
export const readyOf = ({ status }: TrainingJob) => status?.conditions?.find(({ type }) => type === 'Ready');

interface SetUpOptions {
  /** Whether the claims are there that pods mount. */
  claims?: boolean;
  /** Labels of the nodes, each of three CPUs. */
  nodes?: readonly Record<string, string>[];
}

/** A namespace with nodes of its own, storage, an operator, and a kubelet whose pods run until their job is finished or `fate` ends them. */
export async function setUp({ cluster, client }: ScheduledCluster, { claims = true, nodes = [{}, {}] }: SetUpOptions = {}) {
  const namespace = await newNamespace(client);
  const make = (type: ResourceType, name: string, rest: object, where?: string): Promise<KubeObject> =>
    client.create(type, {
      apiVersion: type.group === '' ? 'v1' : `${type.group}/v1`,
      kind: type.kind,
      metadata: { name, ...(where === undefined ? {} : { namespace: where }) },
      ...rest,
    });
  const makeNode = async (name: string, labels: Record<string, string>) => {
    await make(Node, name, { metadata: { name, labels: { pool: namespace, ...labels } } });
    const amounts = { cpu: '3', memory: '8Gi', pods: '50' };
    const time = isoTime(Date.now());
    const ready = {
      type: 'Ready',
      status: 'True',
      reason: 'Made',
      message: '',
      lastHeartbeatTime: time,
      lastTransitionTime: time,
    };
    await client.patchStatus(Node, { name }, { capacity: amounts, allocatable: amounts, conditions: [ready] });
    // An API server takes a new node for one that is not ready.
    await client.patch(Node, { name }, { spec: { taints: null } });
  };
  const makeClaim = async (name: string) => {
    const common = { accessModes: ['ReadWriteMany'], storageClassName: 'shared' };
    const volume = { ...common, capacity: { storage: '1Gi' }, claimRef: { namespace, name }, hostPath: { path: '/nowhere' } };
    await make(PersistentVolume, `${namespace}-${name}`, { spec: volume });
    await make(PersistentVolumeClaim, name, { spec: { ...common, resources: { requests: { storage: '1Gi' } } } }, namespace);
  };
  const makeClaims = async () => {
    for (const claim of ['windlass-jobs', 'windlass-models']) await makeClaim(claim);
  };
  for (const [index, labels] of nodes.entries()) await makeNode(`${namespace}-${index + 1}`, labels);
  if (claims) await makeClaims();
  const stack = new AsyncDisposableStack();
  const finished = new Set<string>();
  const finishes: Fate = (pod) => {
    if (!finished.has(pod.metadata.labels?.[label.job] ?? '')) return test.fate(pod);
    return { exitCode: 0, ...(rankOf(pod) === 0 ? { words: lastWords() } : {}) };
  };
  const { kubeconfig } = cluster;
  const kubelet = stack.use(await startStubKubelet(namespace, finishes, { kubeconfig, hasScheduler: true }));
  const operator = stack.use(startOperator(namespace, { kubeconfig }));
  const test = {
    namespace,
    operator,
    makeClaims,
    makePriority: (name: string, value: number) => make(PriorityClass, name, { value }),
    fate: (() => undefined) as Fate,
    nudge: () => kubelet.nudge(),
    /** Creates a job of four ranks, a CPU for each. */
    start: (name: string, spec: object = {}, requests: object = { cpu: 1 }) => {
      const made = trainingJob(name, {
        parallelism: { dataReplicate: 4 },
        task: { pretrain: { steps: 400, batch: { sequences: 8, length: 128, grains: 4 } } },
        podTemplate: { resources: { requests }, nodeSelector: { pool: namespace } },
        ...spec,
      });
      return client.create(TrainingJob, { ...made, metadata: { ...made.metadata, namespace } });
    },
    /** Lets all pods of a job end well. */
    finish: (name: string) => {
      finished.add(name);
      kubelet.nudge();
    },
    job: (name: string) => client.get(TrainingJob, { namespace, name }),
    /** The job as soon as `holds`. */
    until: (name: string, holds: (job: TrainingJob) => boolean) =>
      vi.waitFor(async () => {
        const job = await test.job(name);
        if (!holds(job)) throw new Error(`not yet: ${JSON.stringify(job.status)}`);
        return job;
      }, waiting),
    patch: (name: string, spec: object) => client.patch(TrainingJob, { namespace, name }, { spec }),
    /** Nodes of a job's pods, as far as these have one. */
    placed: async (name: string) => {
      const { items } = await client.list(Pod, { namespace, labels: { [label.job]: name } });
      return items.map(({ spec }) => spec.nodeName).filter((node) => node !== undefined);
    },
    groups: async () => (await client.list(PodGroup, { namespace })).items.map(({ metadata }) => metadata.name),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
  await operator.said('controllers run');
  return test;
}
