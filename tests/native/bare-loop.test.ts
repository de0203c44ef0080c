// What a rank does to its weights is a loop of steps and nothing else, and a step of grains is their gradients added in a tree.
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { TrainingJob } from '#crds/v1alpha1/training-job.ts';
import { warmupSteps } from '#crds/v1alpha1/pretrain.ts';
import { listCheckpoints } from '#runtime/checkpoint/folders.ts';
import { readTensor } from '#runtime/checkpoint/verify.ts';
import { createSampler } from '#runtime/data/main.ts';
import { contiguous, createModel, headWeight, hiddenStates, newModelConfig, parameterSpecs } from '#runtime/model/main.ts';
import type { Model, ModelConfig } from '#runtime/model/main.ts';
import { adamW, crossEntropy, expectNoLeaks, globalNorm, openDevice, scope, Tape, tensor, zeros } from '#runtime/tensor/main.ts';
import type { Tensor } from '#runtime/tensor/main.ts';
import { prepareCorpus } from '#runtime/train/corpus.ts';
import { learningRateAt } from '#runtime/train/schedule.ts';
import { initialWeights, Trainer } from '#runtime/train/trainer.ts';
import { newFolder, runRank, tinyJob } from './rank.ts';

let folder: string;
beforeEach(async () => {
  folder = await newFolder();
});
afterEach(() => rm(folder, { recursive: true }));

async function weightsOf(model: Model): Promise<Map<string, Float32Array>> {
  const weights = new Map<string, Float32Array>();
  for (const [name, parameter] of model.parameters) weights.set(name, await parameter.read());
  return weights;
}

it('a rank with metrics, evaluations and checkpoints leaves the weights of a bare loop', async () => {
  const json = tinyJob(folder, { batch: { grains: 2 } });
  const end = await runRank(folder, json);
  expect(end.code, end.log).toBe(0);
  const spec = TrainingJob.definition.spec.parse(json);
  const { pretrain: task } = spec.task;
  const loop = async () => {
    const { length } = task.batch;
    const corpus = await prepareCorpus({
      data: spec.data,
      jobDir: join(folder, 'job'),
      modelFolder: undefined,
      length,
      onProgress: () => {},
    });
    const { tokenizer, tokens, split } = corpus;
    const config = newModelConfig('llama', spec.model.config!, {
      vocabularySize: tokenizer.vocabularySize,
      trainingLength: length,
      eosTokenIds: [tokenizer.eos!],
    });
    using device = openDevice();
    using trainer = new Trainer({ config, device, batch: task.batch, seed: 0, recompute: 'none', optimizer: task.optimizer });
    await trainer.load(initialWeights(config, 0, device));
    const sampler = createSampler(tokens.store, split.training, { seed: 0, ...task.batch });
    const schedule = { ...task.optimizer, warmupSteps: warmupSteps(task), steps: task.steps };
    for (let step = 1; step <= task.steps; step += 1) {
      const rate = learningRateAt(step, schedule);
      await trainer.step(sampler.batch(step - 1), step, rate);
    }
    tokens.store.close();
    using whole = await trainer.execution.wholeModel();
    return await weightsOf(whole!.model);
  };
  const weights = await expectNoLeaks(loop);
  const [saved] = await listCheckpoints(join(folder, 'job/checkpoints'));
  expect(saved?.step).toBe(task.steps);
  for (const [name, values] of weights) expect(await readTensor(saved!.path, `weights/${name}`), name).toEqual(values);
});

const sizes = { hiddenSize: 32, layers: 2, heads: 4, dropout: 0.1, tieEmbeddings: false };
const config: ModelConfig = newModelConfig('gpt2', sizes, { vocabularySize: 61, trainingLength: 16 });
const [sequences, length, grains, seed, learningRate] = [8, 16, 4, 5, 0.01];
const optimizer = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1, clipNorm: 1 };
const batch = {
  inputs: Int32Array.from({ length: sequences * length }, (_, at) => (at * 17 + 3) % 61),
  targets: Int32Array.from({ length: sequences * length }, (_, at) => (at * 29 + 8) % 61),
};

/** Gradient of the mean loss of the step that one grain gives, per parameter. */
async function gradientOf(model: Model, grain: number): Promise<Float32Array[]> {
  const count = (sequences / grains) * length;
  const begin = grain * count;
  scope(() => {
    const ids = tensor(model.device, batch.inputs.slice(begin, begin + count), [count], 'ids');
    const targets = tensor(model.device, batch.targets.slice(begin, begin + count), [count], 'targets');
    using tape = new Tape({ length });
    const loss = tape.record(() => {
      const hidden = hiddenStates(model, ids, contiguous({ length }), { dropout: { seed, step: 1, firstToken: begin, length } });
      return crossEntropy(hidden, headWeight(model), targets, { weight: 1 / (sequences * length) });
    });
    tape.backward(loss);
  });
  return await Promise.all(
    [...model.parameters.values()].map(async (parameter) => {
      using gradient = parameter.takeGradient();
      return await gradient.read();
    }),
  );
}

/** Sums in the arithmetic of the kernels: single precision, rounded once. */
function addLists(a: Float32Array[], b: Float32Array[]): Float32Array[] {
  return a.map((values, index) => values.map((value, at) => value + b[index]![at]!));
}

it('a step of four grains applies (g0 + g1) + (g2 + g3)', async () => {
  using device = openDevice();
  using trainer = new Trainer({ config, device, batch: { sequences, length, grains }, seed, recompute: 'none', optimizer });
  await trainer.load(initialWeights(config, seed, device));
  using byHand = createModel(config, { seed, device });
  const { gradientNorm } = await trainer.step(batch, 1, learningRate);
  const parts: Float32Array[][] = [];
  for (let grain = 0; grain < grains; grain += 1) parts.push(await gradientOf(byHand, grain));
  const [g0, g1, g2, g3] = parts as [Float32Array[], Float32Array[], Float32Array[], Float32Array[]];
  const total = addLists(addLists(g0, g1), addLists(g2, g3));
  const norm = await scope(() => {
    const parameters = [...byHand.parameters.values()];
    const like = (label: string) => parameters.map(({ shape }) => zeros(device, shape, label));
    const gradients = total.map((values, index) => tensor(device, values, parameters[index]!.shape, 'gradient'));
    const norm = globalNorm(device, gradients);
    const [firstMoments, secondMoments] = [like('first'), like('second')];
    for (const [index, { decay }] of parameterSpecs(config).entries()) {
      const pick = (list: readonly Tensor[]) => [list[index]!];
      adamW(device, {
        ...optimizer,
        weightDecay: decay ? optimizer.weightDecay : 0,
        parameters: pick(parameters),
        gradients: pick(gradients),
        firstMoments: pick(firstMoments),
        secondMoments: pick(secondMoments),
        norm,
        learningRate,
        step: 1,
      });
    }
    return norm.read();
  });
  expect(norm[0]).toBe(gradientNorm);
  using whole = await trainer.execution.wholeModel();
  expect(await weightsOf(whole!.model)).toEqual(await weightsOf(byHand));
  expect(addLists(addLists(addLists(g0, g1), g2), g3), 'another order would be seen').not.toEqual(total);
});
