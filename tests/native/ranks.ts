// Ranks of one process: a whole mesh in one test, each rank with a device, communicators and a trainer of its own.
import { createHash } from 'node:crypto';
import * as kernels from '#kernels/binding.ts';
import type { ModelConfig } from '#runtime/model/main.ts';
import { openMesh, ParallelLayout, TraceRecorder } from '#runtime/parallel/main.ts';
import type { Batch, Mesh, Parallelism } from '#runtime/parallel/main.ts';
import { Communicator, openDevice } from '#runtime/tensor/main.ts';
import type { Device } from '#runtime/tensor/main.ts';
import { initialWeights, Trainer } from '#runtime/train/trainer.ts';
import type { StepResult, TrainerOptions } from '#runtime/train/trainer.ts';

export interface TestRank {
  readonly device: Device;
  readonly mesh: Mesh;
  readonly trainer: Trainer;
  readonly recorder: TraceRecorder;
}

export type Setting = Pick<TrainerOptions, 'config' | 'batch' | 'seed' | 'recompute' | 'precision' | 'optimizer'>;

let worlds = 0;

/** Opens all ranks of a layout with the initial weights, runs `use` with them, and closes them. */
export async function withRanks<T>(
  parallelism: Parallelism,
  setting: Setting,
  use: (ranks: readonly TestRank[]) => Promise<T>,
): Promise<T> {
  const { dataReplicate, dataShard, tensor, pipeline } = parallelism;
  const size = dataReplicate * dataShard * tensor * pipeline;
  const layout = new ParallelLayout(parallelism, size);
  layout.validate(setting.config, setting.batch);
  const name = `test ${process.pid} ${(worlds += 1)}`;
  const listeners = Array.from({ length: size }, () => kernels.commListen({}));
  const endpoints = listeners.map(({ endpoint }) => endpoint);
  await using stack = new AsyncDisposableStack();
  const ranks = listeners.map(({ handle }, rank): TestRank => {
    stack.defer(() => kernels.commCloseListener(handle));
    const device = stack.use(openDevice());
    const options = { listener: handle, rank, size, endpoints, name, epoch: 1, secret: 'of this test', deadlineMs: 20_000 };
    const world = size === 1 ? undefined : stack.use(new Communicator(kernels.commOpen(options), rank, size));
    const mesh = stack.use(openMesh(layout, rank, world));
    const recorder = stack.use(new TraceRecorder(mesh, device));
    const trainer = stack.use(new Trainer({ ...setting, device, mesh, observer: recorder }));
    return { device, mesh, trainer, recorder };
  });
  await Promise.all(ranks.map(({ trainer, device }) => trainer.load(initialWeights(setting.config, setting.seed, device))));
  return await use(ranks);
}

/** One step of all ranks: what each of them says of it. */
export async function stepAll(
  ranks: readonly TestRank[],
  batch: Batch,
  step: number,
  learningRate: number,
): Promise<StepResult[]> {
  return await Promise.all(ranks.map(({ trainer }) => trainer.step(batch, step, learningRate)));
}

/** sha256 over all weights, in the order of the parameters. */
export async function digestOf(ranks: readonly Pick<TestRank, 'trainer'>[]): Promise<string> {
  const wholes = await Promise.all(ranks.map(({ trainer }) => trainer.execution.wholeModel()));
  const hash = createHash('sha256');
  for (const parameter of wholes[0]?.model.parameters.values() ?? []) hash.update(await parameter.read());
  for (const whole of wholes) whole?.[Symbol.dispose]();
  return hash.digest('hex');
}

/** Token ids that no two steps share: `sequences` of `length`, some targets left out. */
export function testBatch({ sequences, length }: Setting['batch'], { vocabularySize }: ModelConfig, step: number): Batch {
  const ids = (shift: number) =>
    Int32Array.from(
      { length: sequences * length },
      (_, at) => ((at * 7919 + step * 104_729 + shift * 31 + ((at * at) % 89)) >>> 0) % vocabularySize,
    );
  const targets = ids(1).map((id, at) => (at % 11 === step % 11 ? -1 : id));
  return { inputs: ids(0), targets };
}
