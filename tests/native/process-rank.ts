// One rank in a process of its own: trains as it is told over IPC and says what it saw. Started by process-ranks.ts.
import * as kernels from '#kernels/binding.ts';
import { openMesh, ParallelLayout } from '#runtime/parallel/main.ts';
import { Communicator, openDevice } from '#runtime/tensor/main.ts';
import { initialWeights, Trainer } from '#runtime/train/trainer.ts';
import type { RankOrder, RankOutcome } from './process-ranks.ts';
import { digestOf, testBatch } from './ranks.ts';

const once = <T>() => new Promise<T>((resolve) => process.once('message', (message) => resolve(message as T)));

const order = await once<RankOrder>();
const listener = kernels.commListen(order.address === undefined ? {} : { address: order.address });
process.send?.(listener.endpoint);
const endpoints = await once<string[]>();
const { rank, parallelism, setting, steps, transport, tls, deadlineMs } = order;
const size = endpoints.length;
const outcome: { -readonly [Key in keyof RankOutcome]: RankOutcome[Key] } = {
  losses: [],
  secondsPerStep: [],
  bytesSent: 0,
  stateBytes: 0,
  scratchBytes: 0,
  peakBytes: 0,
};
try {
  await train();
} catch (error) {
  outcome.failedAt = Date.now();
  outcome.error = error instanceof Error ? error.message : String(error);
}
await new Promise<void>((sent) => process.send?.(outcome, undefined, undefined, () => sent()));
process.exit(0);

async function train(): Promise<void> {
  using device = openDevice();
  const options = {
    listener: listener.handle,
    rank,
    size,
    endpoints,
    name: order.name,
    epoch: 1,
    secret: 'of this test',
    deadlineMs,
  };
  using world = size === 1 ? undefined : new Communicator(kernels.commOpen({ ...options, transport, tls }), rank, size);
  await world?.ready();
  using mesh = openMesh(new ParallelLayout(parallelism, size), rank, world);
  using trainer = new Trainer({ ...setting, device, mesh });
  const { execution } = trainer;
  await trainer.load(initialWeights(setting.config, setting.seed, device));
  for (let step = 1; step <= steps; step += 1) {
    await execution.settled();
    const sentBefore = execution.bytesSent;
    const begin = performance.now();
    const { loss } = await trainer.step(testBatch(setting.batch, setting.config, step), step, 0.01);
    outcome.losses.push(loss);
    outcome.secondsPerStep.push((performance.now() - begin) / 1e3);
    await execution.settled();
    outcome.bytesSent = execution.bytesSent - sentBefore;
  }
  const held = kernels.liveTensors().filter(({ view }) => !view);
  outcome.stateBytes = held.reduce((sum, { bytes }) => sum + bytes, 0);
  outcome.scratchBytes = kernels.memoryStats().liveBytes - outcome.stateBytes;
  outcome.peakBytes = kernels.memoryStats().peakBytes;
  const digest = await digestOf([{ trainer }]);
  if (rank === 0) outcome.digest = digest;
}
