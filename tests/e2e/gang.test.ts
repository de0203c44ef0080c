// A job of four pods in the embedded default: real kubelet, controllers, agents and rendezvous; only the ranks count steps instead of training.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { TrainingJob } from '#crds/v1alpha1/index.ts';
import { observe } from '#operator/cli/observe.ts';
import type { Observer } from '#operator/cli/observe.ts';
import type { JobView } from '#operator/cli/view.ts';
import { Pod } from '#operator/kube/core.ts';
import { readManifests } from '#operator/kube/manifest.ts';
import { startInstance } from '#operator/local/instance.ts';
import type { Instance } from '#operator/local/instance.ts';
import { makeStateDir, stateDirOf } from '#operator/local/state-dir.ts';

const source = (path: string) => JSON.stringify(join(import.meta.dirname, '../..', path));

/** `windlass agent` as it is, but away while a file says so, and a rank that counts steps, saves each, and publishes when it is told to finish. */
const runtime = `
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
if (process.argv[2] === 'agent') {
  while (existsSync(process.env.WL_JOB_DIR + '/away-' + process.env.WL_RANK)) await sleep(20);
  const { main } = await import(${source('runtime/agent/main.ts')});
  await main();
}
const { RankLink } = await import(${source('runtime/api/rank-link.ts')});
process.on('disconnect', () => process.exit(80));
const { WL_RANK: index, WL_JOB_DIR: folder } = process.env;
mkdirSync(folder, { recursive: true });
const file = (name) => folder + '/' + name;
const link = new RankLink();
const world = await link.announce('count:' + index);
let step = existsSync(file('step')) ? Number(readFileSync(file('step'), 'utf8')) : 0;
writeFileSync(file('rank-' + index), JSON.stringify({ rank: process.pid, agent: process.ppid, world: world.worldSize }));
link.beat(() => ({ step, phase: 'stepping', rssBytes: process.memoryUsage.rss(), measuredSteps: 0, collectives: [] }));
for (; !existsSync(file('finish')); await sleep(20)) {
  if (!(await link.mayStart(step + 1))) process.exit(90);
  step += 1;
  if (world.rank !== 0) continue;
  writeFileSync(file('step'), String(step));
  await link.send({ type: 'progress', progress: { step, steps: 1000, loss: 5 } });
}
const model = { path: 'm/1', digest: 'a'.repeat(64), format: 'huggingface', architecture: 'llama', parameters: 1, contextLength: 8,
  vocabularySize: 300, step, bytes: 1, metrics: {} };
if (world.rank === 0) await link.send({ type: 'published', model });
process.exit(0);
`;

const manifest = `
apiVersion: windlass.dev/v1alpha1
kind: TrainingJob
metadata: { name: m, namespace: default }
spec:
  model: { family: llama, config: { hiddenSize: 8, layers: 2, heads: 2 } }
  data: { uri: /data, tokenizer: { train: { vocabularySize: 300 } } }
  task: { pretrain: { steps: 1000, batch: { sequences: 4, length: 8, grains: 4 } } }
  parallelism: { dataReplicate: 2, tensor: 2 }
  output: { model: m }
`;

const key = { namespace: 'default', name: 'm' };
let folder: string;
let instance: Instance;
let observer: Observer;
const errors: string[] = [];

async function apply(settings = ''): Promise<void> {
  for (const { resource, object } of readManifests(manifest + settings, 'm.yaml').objects)
    await instance.client.create(resource, object);
}

async function start(): Promise<void> {
  const state = stateDirOf(join(folder, 'state'));
  makeStateDir(state);
  instance = await startInstance({
    state,
    workingDir: folder,
    windlassCommand: [process.execPath, join(folder, 'runtime.mjs')],
    log: pino({ level: 'silent' }),
    onError: (error, object) => errors.push(`${object}: ${error.message}`),
    onStopRequest: () => {},
  });
  observer = observe(instance.client, instance.bus);
}

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'wl-gang-'));
  writeFileSync(join(folder, 'runtime.mjs'), runtime);
  await start();
});
afterEach(async () => {
  observer.close();
  await instance.stop();
  rmSync(folder, { recursive: true });
  expect(errors.splice(0)).toEqual([]);
});

const jobDir = () => join(folder, 'state/volumes/default/windlass-jobs/default/m');
const processOf = (rank: number) =>
  JSON.parse(readFileSync(join(jobDir(), `rank-${rank}`), 'utf8')) as { rank: number; agent: number };
const uids = async () =>
  new Map((await instance.client.list(Pod)).items.map(({ metadata }) => [metadata.name, metadata.uid] as const));

async function until<T>(what: string, condition: () => Promise<T | false | undefined>): Promise<T> {
  for (const deadline = Date.now() + 120_000; ;) {
    const value = await condition();
    if (value !== false && value !== undefined) return value;
    if (Date.now() > deadline) throw new Error(`waited in vain for ${what}; ${errors.join('; ')}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const untilView = (what: string, test: (job: JobView) => boolean): Promise<JobView> =>
  until(what, async () => (await observer.look()).jobs.find(test));

const allStep = ({ state, ranks = [] }: JobView) =>
  state === 'Running' && ranks.length === 4 && ranks.every((rank) => rank.state === 'running' && (rank.step ?? 0) > 0);
const trainAgain = (restarts: number, after: number) => (job: JobView) =>
  allStep(job) && job.restarts === restarts && job.step > after;

it('four ranks meet, heal after a killed rank, a killed pod and the loss of the rendezvous, and publish once', async () => {
  await apply();
  const first = await untilView('four ranks', allStep);
  expect(first.rankCount).toBe('4/4');
  const before = await uids();

  process.kill(processOf(2).rank, 'SIGKILL');
  const healed = await untilView(
    'the rank to be started in place',
    (job) => trainAgain(1, first.step)(job) && /again after/.test(job.fault ?? ''),
  );
  expect(healed.fault).toMatch(/rank 2 \(pod m-worker-2\) was ended by SIGKILL.*restart 1 of 3.*trained again after \d+\.\d s/);
  expect(await uids()).toEqual(before);

  process.kill(processOf(3).agent, 'SIGKILL');
  const replaced = await untilView('the pod to be replaced', trainAgain(2, healed.step));
  const after = await uids();
  expect([...after].filter(([name, uid]) => before.get(name) !== uid).map(([name]) => name)).toEqual(['m-worker-3']);
  expect((await instance.client.get(TrainingJob, key)).status).toMatchObject({
    attempt: 0,
    lastFailure: { pod: 'm-worker-3', signal: 9 },
  });

  process.kill(processOf(0).agent, 'SIGKILL');
  await untilView('the rendezvous to be replaced', trainAgain(3, replaced.step));
  expect((await instance.client.get(TrainingJob, key)).status).toMatchObject({ attempt: 0, restarts: 3 });

  writeFileSync(join(jobDir(), 'finish'), '');
  const { modelVersion, restarts } = await untilView('the end', ({ state }) => state === 'Succeeded');
  expect([modelVersion, restarts]).toEqual(['m-1', 3]);
});

it('pods that are asked to stop are replaced free of charge: one that is deleted, all that are stopped with the instance or suspended', async () => {
  await apply();
  await untilView('four ranks', allStep);
  const before = await uids();
  await instance.client.delete(Pod, { namespace: 'default', name: 'm-worker-1' });
  await until('another pod', async () => {
    const uid = (await uids()).get('m-worker-1');
    return uid !== undefined && uid !== before.get('m-worker-1');
  });
  const { step } = await untilView('a look', () => true);
  const second = await untilView('another rank in its place', trainAgain(0, step));

  observer.close();
  await instance.stop();
  await start();
  const third = await untilView('the next life', trainAgain(0, second.step));

  const setSuspend = async (suspend: boolean) => {
    const job = await instance.client.get(TrainingJob, key);
    await instance.client.update(TrainingJob, { ...job, spec: { ...job.spec, suspend } });
  };
  await setSuspend(true);
  await untilView('the end of all pods', ({ state }) => state === 'Suspended');
  await until('the pods to be gone', async () => (await uids()).size === 0);
  await setSuspend(false);
  await untilView('them to go on', trainAgain(0, third.step));
  expect((await instance.client.get(TrainingJob, key)).status).toMatchObject({ attempt: 0, restarts: 0 });
});

it('a rank that stands still is named, and started again', async () => {
  await apply('  faults: { hangTimeoutSeconds: 10 }\n');
  await untilView('four ranks', allStep);
  const { rank } = processOf(1);
  process.kill(rank, 'SIGSTOP');
  await untilView('its silence to be seen', ({ ranks = [] }) => ranks[1]?.state === 'silent');
  const healed = await untilView('another in its place', (job) => allStep(job) && /trained again/.test(job.fault ?? ''));
  expect(healed.fault).toMatch(/^rank 1 \(pod m-worker-1\)/);
  expect(processOf(1).rank).not.toBe(rank);
});

it('an elastic job goes on with two ranks while one of four is away, and with four when it is back', async () => {
  await apply('  elastic: { minRanks: 2 }\n');
  const first = await untilView('four ranks', allStep);
  writeFileSync(join(jobDir(), 'away-3'), '');
  process.kill(processOf(3).agent, 'SIGKILL');
  const two = await untilView(
    'two ranks',
    ({ ranks = [], rankCount, step }) => ranks.length === 2 && rankCount === '2/4' && step > first.step,
  );
  expect(two).toMatchObject({ state: 'Running', restarts: 1 });
  rmSync(join(jobDir(), 'away-3'));
  await untilView('four ranks again', (job) => trainAgain(1, two.step)(job) && job.rankCount === '4/4');
});
