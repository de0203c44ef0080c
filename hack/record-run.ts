// Records a real run as a person sees it in a terminal: two nodes of this machine, the chart, the quickstart unchanged, a job over both nodes, and
// the end of it all. Writes docs/recording.txt. Needs root.
import { spawn } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { build } from './test-cluster/build.ts';
import { startNodeCluster } from './test-cluster/cluster.ts';
import { binaryOf } from './test-cluster/components.ts';
import { prepareInstallation, system, team } from './test-cluster/installation.ts';

const root = resolve(import.meta.dirname, '..');
const folder = join(root, 'build/recording');

const say = (line: string): void => console.error(`record: ${line}`);
rmSync(folder, { recursive: true, force: true });
await build(['helm', 'nats-server'], say);
await using cluster = await startNodeCluster({ nodes: 2, say });
await prepareInstallation(cluster, folder);

const programs = [binaryOf('kubectl'), binaryOf('helm')].map((path) => dirname(path));
const env = {
  ...process.env,
  PATH: [...programs, join(root, 'bin'), process.env['PATH']].join(':'),
  KUBECONFIG: cluster.kubeconfig,
  HELM_CACHE_HOME: folder,
  HELM_CONFIG_HOME: folder,
  HELM_DATA_HOME: folder,
};
let recording = '';

/** Types a command into the recording, with all that it prints; `until` ends one that watches. */
async function type(command: string, until?: Promise<unknown>): Promise<void> {
  recording += `$ ${command}\n`;
  say(command);
  const child = spawn(command, { shell: '/bin/bash', cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (recording += text));
  const ended = new Promise<number | null>((done) => child.once('close', done));
  if (until) {
    await until;
    process.kill(-child.pid!, 'SIGINT');
  }
  const code = await ended;
  if (!until && code !== 0) throw new Error(`${command} ended with ${code}:\n${recording.slice(-2000)}`);
  recording += '\n';
}

/** Runs a command that is not shown. */
async function wait(command: string): Promise<void> {
  const child = spawn(command, { shell: '/bin/bash', cwd: root, env, stdio: ['ignore', 'ignore', 'inherit'] });
  const code = await new Promise<number | null>((done) => child.once('close', done));
  if (code !== 0) throw new Error(`${command} ended with ${code}`);
}

const inTeam = `--namespace ${team}`;
const finished = (job: string) => wait(`kubectl wait trainingjob/${job} ${inTeam} --for=condition=Complete --timeout=20m`);

await type(`helm install windlass charts/windlass --namespace ${system} --values build/recording/values.json --wait`);
await type(`kubectl get nodes,deployments --namespace ${system}`);
await type(`kubectl apply ${inTeam} -f examples/quickstart.yaml`);
await type(`kubectl get tj ${inTeam} -w`, finished('moby'));
await wait(`kubectl wait inferenceservice/moby ${inTeam} --for=condition=Ready --timeout=10m`);
await type(`kubectl get tj,md,mv,isvc,pods ${inTeam}`);
await type(`kubectl windlass chat moby ${inTeam} -m 'Call me'`);
await type(`sed '/^---/q' examples/parallel.yaml | kubectl apply ${inTeam} -f -`);
await wait(`kubectl wait trainingjob/moby-tensor ${inTeam} --for=jsonpath={.status.state}=Running --timeout=10m`);
await type(`kubectl get pods ${inTeam} -l windlass.dev/job=moby-tensor -o wide`);
await finished('moby-tensor');
await type(`kubectl windlass status tj/moby-tensor ${inTeam}`);
await type(`kubectl delete tj,isvc,md,mv --all ${inTeam}`);
await wait(`kubectl wait pods --all ${inTeam} --for=delete --timeout=5m`);
await type(`kubectl get pods,services,endpointslices,podgroups,networkpolicies ${inTeam}`);
await type(`helm uninstall windlass --namespace ${system} --wait`);

const head = `What a terminal shows of a run on two nodes, written by \`node hack/record-run.ts\` as root.\n\n`;
writeFileSync(join(root, 'docs/recording.txt'), head + recording);
say('wrote docs/recording.txt');
