// Records what a real run tells Prometheus: installs the chart on a node of this machine, trains and serves, and reads the metrics meanwhile.
// Writes tests/fixtures/metrics/recorded.txt, which the tests of dashboards and alerts are run on. Needs root.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { formatRecording } from './observe/recording.ts';
import { readMetrics } from './observe/readings.ts';
import type { Target } from './observe/readings.ts';
import { build } from './test-cluster/build.ts';
import { startNodeCluster } from './test-cluster/cluster.ts';
import { capture } from './test-cluster/command.ts';
import { binaryOf } from './test-cluster/components.ts';
import { prepareInstallation, system, team } from './test-cluster/installation.ts';

const root = resolve(import.meta.dirname, '..');
const intervalSeconds = 5;
const servingSeconds = 60;

const say = (line: string): void => console.error(`record: ${line}`);
await build(['helm', 'nats-server'], say);
await using cluster = await startNodeCluster({ say });
const folder = mkdtempSync(join(tmpdir(), 'wl-record-'));

const kubectl = (input: string, ...args: string[]): Promise<string> =>
  capture(binaryOf('kubectl'), ['--kubeconfig', cluster.kubeconfig, ...args], { input });

interface PodOfList {
  metadata: { name: string; namespace: string; labels?: Record<string, string> };
  spec: { containers: { name: string; ports?: { name?: string; containerPort: number }[] }[] };
  status: { phase: string; podIP?: string; containerStatuses?: { ready: boolean }[] };
}

/** The pods that the monitors of the chart would have Prometheus read, with the labels that they would give. */
async function targets(): Promise<Target[]> {
  const { items } = JSON.parse(await kubectl('', 'get', 'pods', '--all-namespaces', '-o', 'json')) as { items: PodOfList[] };
  return items.flatMap(({ metadata: { name, namespace, labels = {} }, spec, status }) => {
    const { podIP } = status;
    if (podIP === undefined || status.phase !== 'Running') return [];
    const service = labels['windlass.dev/service'];
    const of = (container: string, port: string, more: Record<string, string>): Target[] => {
      const ports = spec.containers.find((candidate) => candidate.name === container)?.ports ?? [];
      const instance = `${podIP}:${ports.find((candidate) => candidate.name === port)?.containerPort}`;
      const where = { namespace, pod: name, container, endpoint: port, instance };
      return [{ url: `http://${instance}/metrics`, labels: { ...where, ...more } }];
    };
    if (service !== undefined) return of('engine', 'http', { job: `${system}/windlass-engines`, inferenceservice: service });
    const isOperator = namespace === system && labels['app.kubernetes.io/component'] === 'operator';
    return isOperator ? of('operator', 'metrics', { job: 'windlass-metrics', service: 'windlass-metrics' }) : [];
  });
}

try {
  await installChart();
  say('the chart is installed');
  const done = new AbortController();
  const recording = readMetrics(targets, intervalSeconds, done.signal);
  await train();
  say('the model is trained');
  await serve();
  say('the model has served');
  done.abort();
  const place = join(root, 'tests/fixtures/metrics/recorded.txt');
  mkdirSync(join(root, 'tests/fixtures/metrics'), { recursive: true });
  writeFileSync(place, formatRecording(await recording));
  say(`wrote ${place}`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}

async function installChart(): Promise<void> {
  const { values } = await prepareInstallation(cluster, folder);
  const where = ['--kubeconfig', cluster.kubeconfig, '--namespace', system, '--values', values];
  const env = { ...process.env, HELM_CACHE_HOME: folder, HELM_CONFIG_HOME: folder, HELM_DATA_HOME: folder };
  await capture(binaryOf('helm'), ['install', 'windlass', join(root, 'charts/windlass'), ...where, '--wait'], { env });
}

/** The quickstart, shorter, with checkpoints that a short run reaches. */
async function train(): Promise<void> {
  const quickstart = readFileSync(join(root, 'examples/quickstart.yaml'), 'utf8');
  const manifest = quickstart
    .replace('steps: 600', 'steps: 100')
    .replace('  output:', '  checkpoint: { everySteps: 20 }\n  output:');
  await kubectl(manifest, 'apply', '--namespace', team, '-f', '-');
  const step = '--for=jsonpath={.status.checkpoint.step}=40';
  await kubectl('', 'wait', 'trainingjob/moby', '--namespace', team, step, '--timeout=20m');
  // A disruption, so that there is time lost, and a fault to count.
  await kubectl('', 'delete', 'pod', 'moby-worker-0', '--namespace', team, '--wait=false');
  await kubectl('', 'wait', 'trainingjob/moby', '--namespace', team, '--for=condition=Complete', '--timeout=20m');
}

/** Questions of all sorts, some of them wrong, several at a time. */
async function serve(): Promise<void> {
  await kubectl('', 'wait', 'inferenceservice/moby', '--namespace', team, '--for=condition=Ready', '--timeout=10m');
  const engine = (await targets()).find(({ labels }) => labels['container'] === 'engine');
  if (!engine) throw new Error('there is no engine to ask');
  const end = Date.now() + servingSeconds * 1000;
  const ask = async (body: object) => {
    const headers = { 'content-type': 'application/json' };
    const url = engine.url.replace('/metrics', '/v1/completions');
    await (await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) })).text();
  };
  const asker = async (stream: boolean) => {
    while (Date.now() < end) await ask({ model: 'moby', prompt: 'Call me Ishmael.', max_tokens: 32, stream });
  };
  const mistaken = async () => {
    while (Date.now() < end) {
      await ask({ model: 'moby', prompt: 1.5 });
      await sleep(5000);
    }
  };
  await Promise.all([asker(true), asker(true), asker(false), mistaken()]);
}
