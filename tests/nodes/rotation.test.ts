// The authority of an installation changes twice while a job of two pods trains and clients ask a service: nothing restarts, nothing is cut, and a pod
// that is made afterwards joins those that were there before.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { cpSync, globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { startNodeCluster } from '../../hack/test-cluster/cluster.ts';
import type { TestCluster } from '../../hack/test-cluster/cluster.ts';
import { capture } from '../../hack/test-cluster/command.ts';
import { binaryOf } from '../../hack/test-cluster/components.ts';
import { prepareInstallation, system, team } from '../../hack/test-cluster/installation.ts';
import { chart, helm } from '../cluster/helm.ts';
import { startLoad } from '../e2e/load.ts';
import type { Load } from '../e2e/load.ts';
import { tinyModels } from '../e2e/tiny-models.ts';
import { jobOfTwo, tinyService, tinyVersion } from './workloads.ts';

const limitMs = 600_000;
const waiting = { timeout: limitMs, interval: 500 };
const [prompt, maxTokens] = ['Call me', 8];
/** The next authority signs a little later than two minutes after the one before was made. */
const lifetimes = ['--set', 'tls.certificateLifetime=30s', '--set', 'tls.authorityLifetime=180s'];

let cluster: TestCluster;
let folder: string;
let load: Load;
let secrets: ChildProcess;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'wl-rotation-'));
  const [model] = await tinyModels(folder, [5], prompt, maxTokens);
  cluster = await startNodeCluster({ say: (line) => process.stderr.write(`cluster: ${line}\n`) });
  const { values } = await prepareInstallation(cluster, folder);
  cpSync(model!.path, join(folder, 'models/tiny'), { recursive: true });
  const install = ['install', 'windlass', chart, '--values', values, ...lifetimes, '--wait', '--timeout=8m'];
  await helm(join(folder, 'helm'), ...install, '--kubeconfig', cluster.kubeconfig, '--namespace', system);
  secrets = followSecrets();
  await create(tinyVersion(1, 'tiny', model!.digest), tinyService(), jobOfTwo);
  await kubectl('wait', 'isvc/tiny', '-n', team, '--for=condition=Ready', `--timeout=${limitMs / 1000}s`);
  const address = await kubectl('get', 'service', 'tiny', '-n', team, '-o', 'jsonpath={.spec.clusterIP}:{.spec.ports[0].port}');
  load = startLoad({ url: `http://${address}`, model: 'tiny', prompt, maxTokens, texts: [model!.text], clients: 2 });
  await anotherStep();
}, 3_600_000);

afterAll(async () => {
  await load?.stop();
  secrets?.kill();
  await cluster?.stop();
  rmSync(folder, { recursive: true, force: true });
});

test(
  'nothing restarts and nothing is cut while nobody is left of those who were trusted at first',
  { timeout: limitMs },
  async () => {
    const [first, before, { epoch }] = [await trusted(), await pods(), (await job()).status];
    expect(first.length).toBeGreaterThan(0);
    await vi.waitFor(async () => expect((await trusted()).filter((one) => first.includes(one))).toEqual([]), waiting);
    // Reports of now go through a bus and by credentials that none of the first authorities vouches for.
    await vi.waitFor(async () => expect(await renewals()).toEqual([expect.any(Number), expect.any(Number)]), waiting);
    await anotherStep();
    expect(await pods()).toEqual(before);
    expect((await job()).status).toMatchObject({ attempt: 0, restarts: 0, epoch, readyRanks: 2 });
    expect(load.failures).toEqual([]);
  },
);

test('a pod that is made afterwards joins one that was there before, whose agent goes on', { timeout: limitMs }, async () => {
  const coordinator = async () => (await pods()).filter((line) => line.startsWith('two-worker-0 '));
  const [before, { metadata }] = [await coordinator(), await pod('two-worker-1')];
  const { epoch } = (await job()).status;
  killAgent(metadata.uid);
  await vi.waitFor(async () => {
    const { status } = await job();
    expect(status).toMatchObject({ state: 'Running', readyRanks: 2, lastFailure: { pod: 'two-worker-1', signal: 9 } });
    expect(status.epoch).toBeGreaterThan(epoch);
  }, waiting);
  await anotherStep();
  expect((await pod('two-worker-1')).metadata.uid).not.toBe(metadata.uid);
  expect(await coordinator()).toEqual(before);
  await load.stop();
  process.stderr.write(`${load.answered} answered, ${load.streamed} of them streams\n`);
  expect(load.failures).toEqual([]);
});

interface Job {
  readonly status: { readonly progress?: { readonly step: number }; readonly epoch: number };
}
interface Pod {
  readonly metadata: { readonly name: string; readonly uid: string };
  readonly status: { readonly containerStatuses?: readonly { readonly restartCount: number }[] };
}

/** Fingerprints of the authorities that are trusted now. */
async function trusted(): Promise<string[]> {
  const text = await kubectl('get', 'secret', 'windlass-ca', '-n', system, '-o', String.raw`jsonpath={.data.ca\.crt}`);
  const bundle = Buffer.from(text, 'base64').toString();
  return (bundle.match(/-----BEGIN[\s\S]+?END CERTIFICATE-----/g) ?? []).map((one) => new X509Certificate(one).fingerprint256);
}

/**
 * A kubelet looks at the Secrets of its pods within a minute or two, or when such a pod changes. Certificates of a day can wait for that, those here can't:
 * each change of the Secret of the bus is followed by one of its pod.
 */
function followSecrets(): ChildProcess {
  const watch = ['get', 'secret', 'windlass-bus', '-n', system, '--watch', '-o', 'jsonpath={.metadata.resourceVersion}{"\\n"}'];
  const child = spawn(binaryOf('kubectl'), ['--kubeconfig', cluster.kubeconfig, ...watch], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const selector = 'app.kubernetes.io/component=bus';
  createInterface({ input: child.stdout }).on('line', (version) => {
    const change = ['annotate', 'pod', '-n', system, '-l', selector, '--overwrite', `windlass.dev/secret=${version}`];
    kubectl(...change).catch((error: Error) => process.stderr.write(`${error.message}\n`));
  });
  return child;
}

/** How often each pod of the job has renewed its credentials. */
async function renewals(): Promise<number[]> {
  const logs = await Promise.all([0, 1].map((rank) => kubectl('logs', `two-worker-${rank}`, '-n', team)));
  return logs.map((log) => log.split('renewed the credentials of this pod').length - 1).filter((count) => count > 1);
}

/** Ends the agent of a pod, and so the pod, without a word: this machine sees the processes of its nodes. */
function killAgent(podUid: string): void {
  const agents = globSync('/proc/[0-9]*').filter((process) => {
    try {
      const [cgroup, command] = ['cgroup', 'cmdline'].map((file) => readFileSync(join(process, file), 'utf8'));
      return cgroup!.includes(`pod${podUid}/`) && command!.split('\0').includes('agent');
    } catch {
      return false;
    }
  });
  expect(agents).toHaveLength(1);
  process.kill(Number(basename(agents[0]!)), 'SIGKILL');
}

/** Pods of team and system: name, uid, and how often the container was started again. */
async function pods(): Promise<string[]> {
  const found = await Promise.all([team, system].map((namespace) => kubectl('get', 'pods', '-n', namespace, '-o', 'json')));
  return found
    .flatMap((text) => (JSON.parse(text) as { items: Pod[] }).items)
    .map(({ metadata, status }) => `${metadata.name} ${metadata.uid} ${status.containerStatuses?.[0]?.restartCount}`)
    .toSorted();
}

const pod = async (name: string): Promise<Pod> => JSON.parse(await kubectl('get', 'pod', name, '-n', team, '-o', 'json')) as Pod;

const job = async (): Promise<Job> => JSON.parse(await kubectl('get', 'tj', 'two', '-n', team, '-o', 'json')) as Job;

async function anotherStep(): Promise<void> {
  const before = (await job()).status?.progress?.step ?? 0;
  await vi.waitFor(async () => expect((await job()).status.progress?.step).toBeGreaterThan(before), waiting);
}

const create = (...items: object[]): Promise<string> =>
  kubectlWith(JSON.stringify({ apiVersion: 'v1', kind: 'List', items }), 'create', '-f', '-');

const kubectl = (...args: string[]): Promise<string> => kubectlWith('', ...args);

function kubectlWith(input: string, ...args: string[]): Promise<string> {
  return capture(binaryOf('kubectl'), ['--kubeconfig', cluster.kubeconfig, ...args], { input });
}
