// One rank of the parallel bench in a process of its own: opens its world, then does what it is asked over IPC. Started by parallel-side.ts.
import * as kernels from '#kernels/binding.ts';
import { saveHuggingFace } from '#runtime/model/main.ts';
import { openMesh, ParallelLayout } from '#runtime/parallel/main.ts';
import { Communicator, openDevice } from '#runtime/tensor/main.ts';
import { initialWeights, Trainer } from '#runtime/train/trainer.ts';
import { grains, models } from './parallel-setting.ts';
import type { RankAnswer, RankOrder, RankRequest } from './parallel-side.ts';
import { timeOfCollectives } from './collective-time.ts';
import { batchOf, configOf } from './trainee.ts';

const once = <T>() => new Promise<T>((resolve) => process.once('message', (message) => resolve(message as T)));

const { rank, size, name, parallelism, model } = await once<RankOrder>();
const of = models[model];
const listener = kernels.commListen();
process.send?.(listener.endpoint);
const endpoints = await once<string[]>();
const device = openDevice();
const worldOptions = {
  listener: listener.handle,
  rank,
  size,
  endpoints,
  name,
  epoch: 1,
  secret: 'of this bench',
  deadlineMs: 60_000,
};
const world = size === 1 ? undefined : new Communicator(kernels.commOpen(worldOptions), rank, size);
await world?.ready();
const mesh = openMesh(new ParallelLayout(parallelism, size), rank, world);
const config = configOf(of);
const shape = { sequences: of.sequences, length: of.length, grains };
const trainer = new Trainer({ config, device, mesh, batch: shape, seed: 0, recompute: 'none', optimizer: of });
await trainer.load(initialWeights(config, 0, device));
await trainer.execution.settled();
const batch = batchOf(of);
let steps = 0;

process.on('message', (request: RankRequest) => void answer(request).then((value) => process.send?.(value)));
process.on('disconnect', () => process.exit(0));
process.send?.('ready');

async function answer(request: RankRequest): Promise<RankAnswer> {
  if (request.kind === 'save') await save(request.folder);
  if (request.kind === 'profile') kernels.profile(true);
  const done = request.kind === 'save' ? undefined : await step();
  const operations = request.kind === 'profile' ? kernels.readProfile() : [];
  kernels.profile(false);
  return { ...done, operations, peakBytes: process.resourceUsage().maxRSS * 1024 };
}

async function step() {
  const [begin, beginMs, cpuBegin] = [performance.now(), Date.now(), process.cpuUsage()];
  const sentBefore = trainer.execution.bytesSent;
  const { loss } = await trainer.step(batch, (steps += 1), of.learningRate);
  await trainer.execution.settled();
  const seconds = (performance.now() - begin) / 1e3;
  const { user, system } = process.cpuUsage(cpuBegin);
  const collectives = timeOfCollectives(kernels.commLog().filter(({ enqueuedMs }) => enqueuedMs >= beginMs));
  return { loss, seconds, cpuSeconds: (user + system) / 1e6, collectives, bytesSent: trainer.execution.bytesSent - sentBefore };
}

async function save(folder: string): Promise<void> {
  using whole = await trainer.execution.wholeModel();
  await saveHuggingFace(whole!.model, folder);
}
