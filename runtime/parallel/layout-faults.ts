// What stands against a layout for a model and a batch, each with the field, the value, the reason and a size that would fit.
import type { ModelConfig } from '#runtime/model/config.ts';
import type { Parallelism } from './parallelism.ts';
import { isWindlassError } from '#runtime/api/errors.ts';
import { pipelineSchedule } from './pipeline-schedule.ts';
import { scheduleKinds } from './schedule/main.ts';

/** `task.pretrain.batch` of a job. */
export interface BatchShape {
  readonly sequences: number;
  readonly length: number;
  readonly grains: number;
}

export interface LayoutFault {
  /** `spec.parallelism.tensor`. */
  readonly path: string;
  readonly message: string;
}

/** Sizes of a tensor group: sums are made of at most 8 spans, which the ranks share evenly. */
export const tensorSizes = [1, 2, 4, 8] as const;

/** Rows of the vocabulary, and of an MLP's inner dim, that stay together. */
export const unitRows = 16;

/** Everything that forbids this layout; empty if it is legal. Whether its axes multiply to the world is not looked at. */
export function layoutFaults(parallelism: Parallelism, model: ModelConfig, batch: BatchShape): LayoutFault[] {
  const counts = axisFaults(parallelism);
  if (counts.length > 0) return counts;
  return [
    ...tensorFaults(parallelism, model, batch),
    ...dataFaults(parallelism, batch),
    ...pipelineFaults(parallelism, model, batch),
  ];
}

function axisFaults(parallelism: Parallelism): LayoutFault[] {
  const axes = ['dataReplicate', 'dataShard', 'pipeline', 'stagesPerRank'] as const;
  return axes.flatMap((axis) => {
    const size = parallelism[axis];
    return Number.isInteger(size) && size >= 1 ? [] : [about(axis, `is ${size}; it is a count of at least 1`)];
  });
}

function tensorFaults({ tensor, sequenceParallel }: Parallelism, model: ModelConfig, { length }: BatchShape): LayoutFault[] {
  const reasons = (size: number) => [
    ...tensorReasons(size, model),
    ...(sequenceParallel && length % size !== 0
      ? [`sequences of ${length} tokens can't be split evenly by sequenceParallel`]
      : []),
  ];
  const found = reasons(tensor);
  const faults: LayoutFault[] = [];
  if (found.length > 0) {
    const fit = tensorSizes.findLast((size) => size < tensor && reasons(size).length === 0) ?? 1;
    faults.push(about('tensor', `is ${tensor}, but ${found.join('; ')}. ${fit} would fit`));
  }
  if (sequenceParallel && tensor === 1) {
    faults.push(
      about('sequenceParallel', 'is true with tensor: 1; it splits within a tensor group. Set tensor: 2, or leave it out'),
    );
  }
  return faults;
}

/** Why the layers of a model can't be split over `size` ranks with the sums of one rank: spans must fall to ranks as a whole. */
function tensorReasons(size: number, model: ModelConfig): string[] {
  if (!tensorSizes.includes(size as never)) return [`a tensor group has ${tensorSizes.join(', ')} ranks`];
  const { heads, kvHeads, intermediateSize, vocabularySize } = model;
  const rows = Math.ceil(vocabularySize / unitRows);
  return [
    ...(heads % size === 0 ? [] : [`the model's ${heads} heads can't be split evenly`]),
    ...(kvHeads === heads || kvHeads % size === 0 ? [] : [`the model's ${kvHeads} kvHeads can't be split evenly`]),
    ...(size === 1 || intermediateSize % (size * unitRows) === 0
      ? []
      : [`the ${intermediateSize} columns of intermediateSize are no multiple of ${size} x ${unitRows}`]),
    ...(size === 1 || !model.mixture ? [] : [`the ${model.mixture.experts} experts of a mixture can't be split`]),
    ...(rows >= size ? [] : [`the vocabulary of ${vocabularySize} has fewer than ${size} x ${unitRows} tokens`]),
  ];
}

function dataFaults(parallelism: Parallelism, { grains, sequences }: BatchShape): LayoutFault[] {
  const { dataReplicate, dataShard, zero, reshardAfterForward } = parallelism;
  const ranks = dataReplicate * dataShard;
  const faults: LayoutFault[] = [];
  // One data rank adds all grains itself, however many.
  if (ranks > 1 && !isPowerOfTwo(grains / ranks)) {
    const fits = grainsFor(ranks, sequences, grains);
    const remedy =
      fits.length > 0 ? `grains: ${fits.join(' or ')} would fit` : `none fits; make sequences a multiple of ${ranks}`;
    faults.push({
      path: 'spec.task.pretrain.batch.grains',
      message: `is ${grains}, but ${ranks} data ranks (dataReplicate x dataShard) each take a power of two of grains, all of equal numbers of the ${sequences} sequences: ${remedy}`,
    });
  } else if (sequences % grains !== 0) {
    const fits = grainsFor(ranks, sequences, grains);
    const remedy = fits.length > 0 ? `grains: ${fits.join(' or ')} would fit` : `make sequences a multiple of ${grains}`;
    faults.push({
      path: 'spec.task.pretrain.batch.grains',
      message: `is ${grains} and must divide the ${sequences} sequences: ${remedy}`,
    });
  }
  if (dataShard === 1 && zero !== 3)
    faults.push(about('zero', `is ${zero} with dataShard: 1; there is nothing to shard over. Set dataShard: 2, or leave it out`));
  faults.push(...shardFaults(parallelism));
  if (!reshardAfterForward && (dataShard === 1 || zero !== 3)) {
    const reason = dataShard === 1 ? 'with dataShard: 1' : `with zero: ${zero}`;
    faults.push(
      about('reshardAfterForward', `is false ${reason}; weights are sharded by zero: 3 and dataShard above 1 only. Leave it out`),
    );
  }
  return faults;
}

function shardFaults({ dataShard, zero, reshardAfterForward, reshardWithin, reduceEveryGrain }: Parallelism): LayoutFault[] {
  const faults: LayoutFault[] = [];
  if (reshardWithin !== undefined) {
    const fit = Array.from({ length: dataShard }, (_, size) => size).findLast((size) => size > 1 && dataShard % size === 0);
    const remedy = fit === undefined ? 'Leave it out' : `${fit} would fit`;
    if (zero !== 3 || !reshardAfterForward) {
      const reason = zero === 3 ? 'reshardAfterForward: false' : `zero: ${zero}`;
      faults.push(about('reshardWithin', `is ${reshardWithin} with ${reason}, which keeps all weights. Leave it out`));
    } else if (!(reshardWithin > 1 && reshardWithin < dataShard && dataShard % reshardWithin === 0)) {
      const reason = `${dataShard} ranks of dataShard can't be split evenly into smaller groups of so many`;
      faults.push(about('reshardWithin', `is ${reshardWithin}, but ${reason}. ${remedy}`));
    }
  }
  if (reduceEveryGrain && (dataShard === 1 || zero === 1)) {
    const reason = dataShard === 1 ? 'dataShard: 1' : 'zero: 1';
    faults.push(about('reduceEveryGrain', `is true with ${reason}; gradients are sharded by zero: 2 and 3. Leave it out`));
  } else if (reduceEveryGrain && !isPowerOfTwo(dataShard)) {
    const fit = 2 ** Math.floor(Math.log2(dataShard));
    const reason = `the sum of a grain of each of ${dataShard} ranks is no branch of a binary tree`;
    faults.push(about('reduceEveryGrain', `is true, but ${reason}. dataShard: ${fit} would fit`));
  }
  return faults;
}

/** The numbers of grains next to `near`, one below and one above, that suit `ranks` data ranks. */
function grainsFor(ranks: number, sequences: number, near: number): number[] {
  const legal = Array.from({ length: sequences }, (_, index) => index + 1).filter(
    (grains) => sequences % grains === 0 && (ranks === 1 || isPowerOfTwo(grains / ranks)),
  );
  const below = legal.findLast((grains) => grains <= near);
  const above = legal.find((grains) => grains > near);
  return [below, above].filter((grains) => grains !== undefined);
}

function pipelineFaults(parallelism: Parallelism, model: ModelConfig, batch: BatchShape): LayoutFault[] {
  const { pipeline, schedule, stagesPerRank } = parallelism;
  if (schedule === 'csv') return ownScheduleFaults(parallelism, model, batch);
  const { stages, leastGrains } = scheduleKinds[schedule];
  const faults: LayoutFault[] = [];
  if (pipeline === 1) {
    if (stages.least > 1)
      faults.push(
        about('schedule', `is ${schedule} with pipeline: 1; there is nothing to pass on. Set pipeline: 2, or leave it out`),
      );
    else if (stagesPerRank !== 1)
      faults.push(about('stagesPerRank', `is ${stagesPerRank} with pipeline: 1; there is one stage. Leave it out`));
    return [...faults, ...cutFaults(parallelism, 1, model)];
  }
  if (stagesPerRank < stages.least || stagesPerRank > stages.most) {
    const needed = stages.least === stages.most ? `exactly ${stages.least}` : `at least ${stages.least}`;
    faults.push(
      about('stagesPerRank', `is ${stagesPerRank}, but schedule ${schedule} takes ${needed}. ${stages.least} would fit`),
    );
    return faults;
  }
  const parts = model.layers + 2;
  if (pipeline * stagesPerRank > parts) {
    const fit = Math.floor(parts / stagesPerRank);
    const remedy = fit >= 2 ? `pipeline: ${fit} would fit` : `stagesPerRank: ${Math.floor(parts / pipeline)} would fit`;
    const asked = `${pipeline} x stagesPerRank ${stagesPerRank} = ${pipeline * stagesPerRank} stages`;
    faults.push(
      about(
        'pipeline',
        `is ${asked}, but the model has ${model.layers} layers, an embedding and a head to fill them with. ${remedy}`,
      ),
    );
  } else faults.push(...cutFaults(parallelism, pipeline * stagesPerRank, model));
  const perRank = batch.grains / (parallelism.dataReplicate * parallelism.dataShard);
  const least = leastGrains(pipeline);
  if (Number.isInteger(perRank) && perRank < least) {
    const fit = 2 ** Math.ceil(Math.log2(least));
    faults.push(
      about(
        'schedule',
        `is ${schedule}, which needs at least ${least} grains per data rank and has ${perRank}; ${fit} would fit`,
      ),
    );
  }
  return faults;
}

/** Grains that don't fit the data ranks are told elsewhere, and no schedule is looked for that fits them. */
function ownScheduleFaults(parallelism: Parallelism, model: ModelConfig, batch: BatchShape): LayoutFault[] {
  if (batch.grains % (parallelism.dataReplicate * parallelism.dataShard) !== 0) return [];
  try {
    const { stages } = pipelineSchedule(parallelism, batch.grains);
    const parts = model.layers + 2;
    if (stages <= parts) return cutFaults(parallelism, stages, model);
    const filling = `the model has ${model.layers} layers, an embedding and a head to fill them with`;
    return [about('scheduleCsv', `has ${stages} stages, but ${filling}. ${parts} stages would fit`)];
  } catch (error) {
    if (!isWindlassError(error)) throw error;
    return [{ path: 'spec.parallelism.scheduleCsv', message: error.message.replace(/^spec\.parallelism\.scheduleCsv: /, '') }];
  }
}

function cutFaults({ stageLayers }: Parallelism, stages: number, { layers }: ModelConfig): LayoutFault[] {
  if (!stageLayers) return [];
  const shown = `[${stageLayers.join(', ')}]`;
  const fit = `[${evenCut(layers, stages).join(', ')}] would fit`;
  if (stageLayers.length !== stages)
    return [about('stageLayers', `is ${shown}, but the pipeline has ${stages} stages, which need an entry each. ${fit}`)];
  const sum = stageLayers.reduce((total, blocks) => total + blocks, 0);
  if (sum !== layers) return [about('stageLayers', `is ${shown}, ${sum} layers in all, but the model has ${layers}. ${fit}`)];
  const empty = stageLayers.findIndex((blocks, stage) => blocks === 0 && stage > 0 && stage < stages - 1);
  if (empty >= 0)
    return [
      about(
        'stageLayers',
        `is ${shown}, but stage ${empty} would be empty: only the first, which has the embedding, and the last, which has the head, can do without a layer`,
      ),
    ];
  return [];
}

/** Blocks of each stage where the embedding and the head count as one each. */
function evenCut(layers: number, stages: number): number[] {
  const endOf = (stage: number) => Math.min(Math.max(Math.floor(((layers + 2) * stage) / stages) - 1, 0), layers);
  return Array.from({ length: stages }, (_, stage) => endOf(stage + 1) - endOf(stage));
}

function isPowerOfTwo(value: number): boolean {
  return Number.isInteger(value) && value >= 1 && 2 ** Math.round(Math.log2(value)) === value;
}

function about(field: keyof Parallelism, message: string): LayoutFault {
  return { path: `spec.parallelism.${field}`, message };
}
