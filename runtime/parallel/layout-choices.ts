// The layouts to choose from: all legal ones of a world, and the one to go on with when ranks are lost.
import type { ModelConfig } from '#runtime/model/config.ts';
import { layoutFaults, tensorSizes } from './layout-faults.ts';
import type { BatchShape } from './layout-faults.ts';
import { noParallelism, worldOf } from './parallelism.ts';
import type { Parallelism } from './parallelism.ts';
import { scheduleKinds } from './schedule/main.ts';
import type { GeneratedSchedule } from './schedule/main.ts';

/**
 * Every legal layout of exactly `world` ranks, from the fewest pipeline ranks on; no two of them do the same. How gradients are reduced and how
 * weights are gathered have nothing to do with each other: `reduceEveryGrain` is there with one way of gathering them.
 */
export function legalLayouts(world: number, model: ModelConfig, batch: BatchShape): Parallelism[] {
  const axes = divisors(world).flatMap((pipeline) =>
    divisors(world / pipeline).flatMap((dataReplicate) =>
      divisors(world / pipeline / dataReplicate).flatMap((dataShard) => {
        const tensor = world / pipeline / dataReplicate / dataShard;
        return tensorSizes.includes(tensor as never) ? [{ ...noParallelism, pipeline, dataReplicate, dataShard, tensor }] : [];
      }),
    ),
  );
  return axes
    .flatMap((layout) => sharded(layout, batch))
    .flatMap((layout) => (layout.tensor === 1 ? [layout] : [layout, { ...layout, sequenceParallel: true }]))
    .flatMap((layout) => scheduled(layout, model))
    .filter((layout) => layoutFaults(layout, model, batch).length === 0);
}

function sharded(layout: Parallelism, { grains }: BatchShape): Parallelism[] {
  const { dataReplicate, dataShard } = layout;
  if (dataShard === 1) return [layout];
  const within = [...divisors(dataShard).filter((size) => size > 1 && size < dataShard), undefined];
  return [
    { ...layout, zero: 1 },
    { ...layout, zero: 2 },
    ...within.map((reshardWithin) => ({ ...layout, reshardWithin })),
    { ...layout, reshardAfterForward: false },
    // With one grain for each rank it is the same.
    ...(grains > dataReplicate * dataShard ? [{ ...layout, reshardWithin: within[0], reduceEveryGrain: true }] : []),
  ];
}

function scheduled(layout: Parallelism, model: ModelConfig): Parallelism[] {
  if (layout.pipeline === 1) return [layout];
  return (Object.keys(scheduleKinds) as GeneratedSchedule[]).flatMap((schedule) => {
    const { least, most } = scheduleKinds[schedule].stages;
    const stages = Math.min(most, Math.floor((model.layers + 2) / layout.pipeline));
    const counts = Array.from({ length: Math.max(0, stages - least + 1) }, (_, index) => least + index);
    return counts.map((stagesPerRank) => ({ ...layout, schedule, stagesPerRank }));
  });
}

function divisors(of: number): number[] {
  return Array.from({ length: of }, (_, index) => index + 1).filter((size) => of % size === 0);
}

/**
 * The layout to go on with in a world of another size than the job's own. When ranks are lost dataReplicate is halved first, then dataShard;
 * where there are more ranks dataReplicate is doubled. Tensor and pipeline stay, because a rank's part of the model has to fit its
 * memory. It may leave ranks over; undefined if it takes more than there are.
 */
export function layoutForWorld(parallelism: Parallelism, world: number): Parallelism | undefined {
  let layout = parallelism;
  while (2 * worldOf(layout) <= world) layout = { ...layout, dataReplicate: 2 * layout.dataReplicate };
  while (worldOf(layout) > world) {
    if (layout.dataReplicate % 2 === 0) layout = { ...layout, dataReplicate: layout.dataReplicate / 2 };
    else if (layout.dataShard % 2 === 0) layout = { ...layout, dataShard: layout.dataShard / 2 };
    else return undefined;
  }
  const { zero, reshardAfterForward, reshardWithin, reduceEveryGrain } = noParallelism;
  if (layout.dataShard === 1) return { ...layout, zero, reshardAfterForward, reshardWithin, reduceEveryGrain };
  const { dataShard, reshardWithin: within = 1 } = layout;
  return within < dataShard && dataShard % within === 0 ? layout : { ...layout, reshardWithin };
}
