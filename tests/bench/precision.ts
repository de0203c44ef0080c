// The precision bench: training steps in bf16 and in f32, both ours, in turns; and the most memory that each needs for tensors.
import * as kernels from '#kernels/binding.ts';
import { openDevice } from '#runtime/tensor/main.ts';
import type { Device, Precision } from '#runtime/tensor/main.ts';
import { rowOf } from './line.ts';
import type { BenchLine, IsaClass } from './line.ts';
import { Machine } from './machine.ts';
import { median } from './median.ts';
import { tellRound } from './progress.ts';
import { Rounds } from './rounds.ts';
import { createOurs, trainedModels } from './trainee.ts';
import type { GptSetting, TrainedModel } from './trainee.ts';

export interface PrecisionBenchOptions {
  readonly isa: IsaClass;
  readonly model: TrainedModel;
  readonly rounds: number;
}

const warmup = 2;

export async function benchPrecision({ isa, model, rounds }: PrecisionBenchOptions): Promise<BenchLine> {
  const of = trainedModels[model];
  using device = openDevice();
  // The peak of a process only rises: the side that is to need less goes first, alone.
  const memory = { bf16: await peakOf(device, of, 'bf16'), f32: await peakOf(device, of, 'f32') };
  await using opened = new AsyncDisposableStack();
  const sideOf = async (precision: Precision) =>
    new Rounds(opened.adopt(await createOurs(device, of, precision), (started) => started.close()));
  const [bf16, f32] = [await sideOf('bf16'), await sideOf('f32')];
  const machine = new Machine(device);
  for (const side of [bf16, f32]) await side.warmUp(warmup);
  for (let round = 0; round < rounds; round += 1) {
    tellRound(round, rounds);
    await machine.look();
    for (const side of [bf16, f32]) await side.run(1);
  }
  const tokens = of.sequences * of.length;
  const speed = rowOf('speed', 'tokens/s', { ours: tokens / median(bf16.seconds), peer: tokens / median(f32.seconds) });
  const distance = Math.max(...bf16.losses.map((loss, step) => Math.abs(loss / f32.losses[step]! - 1)));
  const peerName = 'Windlass in f32';
  return {
    bench: 'precision',
    subject: model,
    ...machine.describe(isa),
    versions: { node: process.version },
    rounds,
    rows: [
      { ...speed, cpuRatio: median(f32.cpuSeconds) / median(bf16.cpuSeconds), peerName },
      rowOf('most memory', 'MiB', { ours: memory.bf16, peer: memory.f32, better: 'less', peerName }),
    ],
    notes: [`losses of ${bf16.losses.length} steps are within ${distance.toExponential(1)} of those of f32`],
  };
}

/** MiB of tensors and scratch memory in two steps. */
async function peakOf(device: Device, of: GptSetting, precision: Precision): Promise<number> {
  const ours = await createOurs(device, of, precision);
  await ours.step();
  await ours.step();
  ours.close();
  await device.sync();
  return kernels.memoryStats().peakBytes / 2 ** 20;
}
