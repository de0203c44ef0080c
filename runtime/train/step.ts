// One optimizer step: forward and backward over the grains of a batch, their gradients added in the fixed tree, one update.
import { contiguous, headWeight, hiddenStates } from '#runtime/model/main.ts';
import type { Model } from '#runtime/model/main.ts';
import { addInto, crossEntropy, keep, scope, sum, Tape, tensor } from '#runtime/tensor/main.ts';
import type { Tensor } from '#runtime/tensor/main.ts';
import { GradientTree } from './gradient-tree.ts';
import type { AdamW } from './optimizer.ts';

export interface Batch {
  /** [sequences * length] token ids, sequence after sequence. */
  readonly inputs: Int32Array;
  /** The token that follows each input. */
  readonly targets: Int32Array;
}

export interface StepConfig {
  readonly sequences: number;
  readonly length: number;
  readonly grains: number;
  readonly seed: number;
  readonly recompute: 'none' | 'block';
}

export interface StepResult {
  /** Mean loss in nats per token. */
  readonly loss: number;
  /** Global gradient norm before clipping. */
  readonly gradientNorm: number;
}

/** Enqueues one step and resolves when it has run. `step` counts from 1. The one wait of a step is the reading of loss and norm. */
export async function trainStep(
  model: Model,
  optimizer: AdamW,
  batch: Batch,
  step: number,
  learningRate: number,
  config: StepConfig,
): Promise<StepResult> {
  const tokens = config.sequences * config.length;
  const [loss, norm] = await scope(() => {
    const tree = new GradientTree<Tensor[]>(addLists);
    for (let grain = 0; grain < config.grains; grain += 1) tree.add(grainGradients(model, batch, grain, step, config));
    const [lossSum, ...gradients] = tree.finish();
    const gradientNorm = optimizer.update(gradients, learningRate, step);
    for (const gradient of gradients) gradient.dispose();
    return Promise.all([lossSum!.read(), gradientNorm.read()]);
  });
  return { loss: (loss[0] ?? NaN) / tokens, gradientNorm: norm[0] ?? NaN };
}

/** Sum of the losses of a grain, then the gradient of each parameter. */
function grainGradients(model: Model, batch: Batch, grain: number, step: number, config: StepConfig): Tensor[] {
  const count = (config.sequences / config.grains) * config.length;
  const [begin, end] = [grain * count, (grain + 1) * count];
  const lossSum = scope(() => {
    const { device } = model;
    const ids = tensor(device, batch.inputs.subarray(begin, end), [count], 'inputs');
    const targets = tensor(device, batch.targets.subarray(begin, end), [count], 'targets');
    using tape = new Tape({ length: config.length });
    const losses = tape.record(() => {
      const hidden = hiddenStates(model, ids, contiguous(config), {
        dropout: { seed: config.seed, step, firstToken: begin },
        recompute: config.recompute,
      });
      return crossEntropy(hidden, headWeight(model), targets, { weight: 1 / (config.sequences * config.length) });
    });
    tape.backward(losses);
    return sum(losses);
  });
  return [lossSum, ...[...model.parameters.values()].map((parameter) => keep(parameter.takeGradient()))];
}

function addLists(older: Tensor[], newer: Tensor[]): Tensor[] {
  for (const [index, addend] of newer.entries()) {
    addInto(older[index]!, addend);
    addend.dispose();
  }
  return older;
}
