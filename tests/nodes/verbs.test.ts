// Logs and chat of `kubectl windlass` through a real API server and kubelet: what pods print, through restarts, and what a model says.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { imageName, windlassImage } from '../../hack/oci-image/image.ts';
import { loadImage, startNodeCluster } from '../../hack/test-cluster/cluster.ts';
import type { TestCluster } from '../../hack/test-cluster/cluster.ts';
import { capture } from '../../hack/test-cluster/command.ts';
import { binaryOf } from '../../hack/test-cluster/components.ts';
import { sharedClaim } from '../../hack/test-cluster/team.ts';

const root = resolve(import.meta.dirname, '../..');
const namespace = 'team';
const limitMs = 600_000;
const waiting = { timeout: limitMs, interval: 500 };

let cluster: TestCluster;
let folder: string;
let operator: ReturnType<typeof start>;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'wl-verbs-'));
  cluster = await startNodeCluster({ say: (line) => process.stderr.write(`cluster: ${line}\n`) });
  const file = join(folder, 'image.tar');
  writeFileSync(file, windlassImage().archive);
  await loadImage(cluster, file);
  await kubectl('apply', '--server-side', '-f', join(root, 'crds'));
  const items = [{ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } }, ...['jobs', 'models'].flatMap(storage)];
  await kubectlWith(JSON.stringify({ apiVersion: 'v1', kind: 'List', items }), 'create', '-f', '-');
  const addresses = ['metrics', 'health'].flatMap((what) => [`--${what}-address`, '127.0.0.1:0']);
  const scope = ['--namespace', namespace, '--no-leader-elect', '--image', imageName];
  operator = start(process.execPath, join(root, 'bin/windlass.ts'), 'operator', ...scope, ...addresses);
}, 3_600_000);

afterAll(async () => {
  operator?.child.kill('SIGTERM');
  await operator?.ended;
  await cluster?.stop();
  rmSync(folder, { recursive: true, force: true });
});

test(
  'logs -f prints all ranks by name, goes on through a restart of the job, and ends with it',
  { timeout: 2 * limitMs },
  async () => {
    const manifest = {
      apiVersion: 'windlass.dev/v1alpha1',
      kind: 'TrainingJob',
      metadata: { name: 'two', namespace },
      spec: {
        model: { family: 'llama', config: { hiddenSize: 32, intermediateSize: 64, layers: 1, heads: 2 } },
        data: { uri: 'sample://moby-dick', tokenizer: { train: { vocabularySize: 512 } } },
        parallelism: { dataReplicate: 2 },
        task: { pretrain: { steps: 10_000_000, batch: { sequences: 2, length: 32, grains: 2 } } },
        checkpoint: { everySteps: 1000 },
        output: { model: 'two' },
      },
    };
    await kubectlWith(JSON.stringify(manifest), 'create', '-f', '-');
    const running = async () =>
      expect(await kubectl('get', 'tj/two', '-n', namespace, '-o', 'jsonpath={.status.state}')).toBe('Running');
    await vi.waitFor(running, waiting);
    const follow = windlass('logs', '-f', 'two');
    const lines = (pod: string) =>
      follow
        .out()
        .split('\n')
        .filter((line) => line.startsWith(`two-worker-${pod}: `));
    for (const rank of ['0', '1']) await vi.waitFor(() => expect(lines(rank).length).toBeGreaterThan(0), waiting);
    const restarted = windlass('restart', 'two', '--wait');
    expect(await restarted.ended).toBe(0);
    await vi.waitFor(() => expect(follow.err()).toMatch(/\(two-worker-1 is a new pod of attempt 1/), waiting);
    expect(await kubectl('get', 'tj/two', '-n', namespace, '-o', 'jsonpath={.status.attempt} {.status.restarts}')).toBe('1 0');

    const newest = windlass('logs', 'two', '--rank', '1', '--tail', '1');
    expect(await newest.ended).toBe(0);
    expect(newest.out().trim().split('\n')).toHaveLength(1);
    expect(newest.out()).not.toMatch(/^two-worker-1: /);
    await kubectl('delete', 'tj/two', '-n', namespace);
    expect(await follow.ended).toBe(0);
    // Each line of a pod came once, whatever became of its connection.
    const all = follow
      .out()
      .split('\n')
      .filter((line) => line !== '');
    expect(new Set(all).size).toBe(all.length);
  },
);

test('chat streams what a service of the cluster says, and report takes its log along', { timeout: 2 * limitMs }, async () => {
  const items = [
    {
      apiVersion: 'windlass.dev/v1alpha1',
      kind: 'TrainingJob',
      metadata: { name: 'moby', namespace },
      spec: {
        model: { family: 'llama', config: { hiddenSize: 32, intermediateSize: 64, layers: 1, heads: 2 } },
        data: { uri: 'sample://moby-dick', tokenizer: { train: { vocabularySize: 512 } } },
        task: { pretrain: { steps: 2, batch: { sequences: 2, length: 32 } } },
        output: { model: 'moby' },
      },
    },
    {
      apiVersion: 'windlass.dev/v1alpha1',
      kind: 'InferenceService',
      metadata: { name: 'moby', namespace },
      spec: { model: { name: 'moby' } },
    },
  ];
  await kubectlWith(JSON.stringify({ apiVersion: 'v1', kind: 'List', items }), 'create', '-f', '-');
  const waited = windlass('status', 'tj/moby', '--watch');
  expect(await waited.ended).toBe(0);
  expect(waited.out()).toContain('trainingjob/moby: Succeeded, published moby-1');
  await kubectl('wait', 'inferenceservice/moby', '-n', namespace, '--for=condition=Ready', `--timeout=${limitMs / 1000}s`);
  const chat = windlass('chat', 'moby', '-m', 'Call me');
  expect({ code: await chat.ended, err: chat.err() }).toEqual({ code: 0, err: '' });
  expect(chat.out().trim()).not.toBe('');
  const logs = windlass('logs', 'tj/moby');
  expect(await logs.ended).toBe(0);
  expect(logs.out()).toContain('"msg"');
  const report = windlass('report', 'moby', '--to', join(folder, 'report.tar.gz'));
  expect(await report.ended).toBe(0);
  expect(report.out()).toMatch(/^ {2}logs\/team\/moby-worker-0\/agent\.log /m);
  expect(report.out()).toMatch(/^ {2}logs\/team\/moby-[0-9a-f]{8}-0\/engine\.log /m);
});

const storage = (name: string): object[] => sharedClaim(namespace, `windlass-${name}`, join(folder, name));

const kubectl = (...args: string[]): Promise<string> => kubectlWith('', ...args);

function kubectlWith(input: string, ...args: string[]): Promise<string> {
  return capture(binaryOf('kubectl'), ['--kubeconfig', cluster.kubeconfig, ...args], { input });
}

const windlass = (verb: string, ...args: string[]) => start(binaryOf('kubectl'), 'windlass', verb, '-n', namespace, ...args);

function start(program: string, ...args: string[]) {
  const path = [join(root, 'bin'), dirname(process.execPath), process.env['PATH']].join(delimiter);
  const env = { ...process.env, PATH: path, KUBECONFIG: cluster.kubeconfig };
  const child = spawn(program, args, { env, cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
  let [out, err] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text));
  const ended = new Promise<number>((done) => child.once('close', (code) => done(code ?? -1)));
  return { child, ended, out: () => out, err: () => err };
}
