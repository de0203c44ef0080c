// A model in each of the types of GGUF files gives the same bits whatever happens around a sequence, and what its values in f32 give, nearly.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { memoryStats } from '#kernels/binding.ts';
import { contiguous, createModel, headWeight, hiddenStates, servedModelFrom } from '#runtime/model/main.ts';
import type { Model, ModelConfig } from '#runtime/model/main.ts';
import { BlockEncoder } from '#runtime/model/gguf/block-encoder.ts';
import { dequantize } from '#runtime/model/gguf/dequantize.ts';
import { tinyGpt2, tinyLlama } from '#runtime/model/testing.ts';
import type { WeightSource } from '#runtime/model/weight-source.ts';
import { linear, openDevice, quantTypes, scope, tensor } from '#runtime/tensor/main.ts';
import type { QuantType } from '#runtime/tensor/main.ts';
import { Engine } from './engine.ts';
import { ModelRunner } from './model-runner.ts';

const vocabularySize = 211;
const contextLength = 96;
const sizes = { vocabularySize, contextLength, hiddenSize: 256, heads: 4, kvHeads: 4, headSize: 64, intermediateSize: 512 };
const wide = { ...sizes, initializerRange: 0.1 };
const llama: ModelConfig = { ...tinyLlama, ...wide, kvHeads: 2, tieEmbeddings: true };
const untied: ModelConfig = { ...tinyLlama, ...wide, tieEmbeddings: false };
const gpt2: ModelConfig = { ...tinyGpt2, ...wide, intermediateSize: 1024 };
const types = Object.keys(quantTypes) as QuantType[];
const device = openDevice();
const encoder = new BlockEncoder();
afterAll(() => {
  encoder.close();
  device.close();
});

/** The matrices of a model in blocks of a type, or the values of those blocks. */
function sourceOf(model: Model, type: QuantType, keepsBlocks: boolean): WeightSource {
  const valuesOf = (name: string) => model.parameters.get(name)!.read();
  const isMatrix = (name: string) => model.parameters.get(name)!.shape.length === 2 && name !== 'embedding.positions';
  const blocksOf = async (name: string) => await encoder.encode(type, await valuesOf(name));
  const read = async (name: string) => {
    const values = await valuesOf(name);
    if (isMatrix(name)) dequantize(type, await blocksOf(name), values);
    return values;
  };
  if (!keepsBlocks) return { config: model.config, read };
  return {
    config: model.config,
    read,
    typeOf: (name) => (isMatrix(name) ? type : 'F32'),
    stored: async (name) => ({ type, rows: model.parameters.get(name)!.shape[0]!, bytes: await blocksOf(name) }),
  };
}

const prompts = Array.from({ length: 6 }, (_, i) =>
  Array.from({ length: 1 + i * 11 }, (_, at) => (at * 31 + (at < 20 ? 0 : i) * 17 + 5) % vocabularySize),
);

async function generate(
  model: Model,
  shape: { inTurn?: boolean; maxBatchedTokens?: number; blockSize?: number; prefixCache?: boolean },
) {
  const { inTurn = false, maxBatchedTokens = 512, blockSize = 16, prefixCache = false } = shape;
  const engine = new Engine({
    runner: new ModelRunner(model, { blocks: 800 / blockSize, blockSize }),
    vocabulary: { size: vocabularySize, tokenBytes: (id) => Uint8Array.of(id), endOfText: new Set() },
    limits: { contextLength, maxSequences: 8, maxBatchedTokens, maxWaiting: 100, prefixCache },
    now: () => 0,
    randomSeed: () => 0n,
    hashSeed: 'test',
  });
  const outputs: unknown[][] = prompts.map(() => []);
  const collect = async (prompt: readonly number[], index: number) => {
    const request = { prompt, maxTokens: 12, temperature: index / 4, seed: index, logprobs: 2 };
    for await (const { tokens } of engine.generate(request)) outputs[index]!.push(...tokens);
  };
  if (inTurn) for (const [index, prompt] of prompts.entries()) await collect(prompt, index);
  else await Promise.all(prompts.map(collect));
  await engine.close();
  return outputs;
}

/** Logits of all positions of the longest prompt. */
async function logitsOf(model: Model): Promise<Float32Array> {
  const tokens = Int32Array.from(prompts.at(-1)!);
  return await scope(() => {
    const hidden = hiddenStates(model, tensor(device, tokens, [tokens.length]), contiguous({ length: tokens.length }));
    return linear(hidden, headWeight(model)).read();
  });
}

/** |a - b| / |b|. */
function distance(a: Float32Array, b: Float32Array): number {
  let [difference, whole] = [0, 0];
  for (const [i, value] of b.entries()) {
    difference += (a[i]! - value) ** 2;
    whole += value ** 2;
  }
  return Math.sqrt(difference / whole);
}

describe.each(types)('%s', (type) => {
  let model: Model;
  let alone: unknown[][];
  beforeAll(async () => {
    using plain = createModel(llama, { seed: 7, device });
    model = await servedModelFrom(sourceOf(plain, type, true), device);
    alone = await generate(model, { inTurn: true });
  });
  afterAll(() => model.dispose());

  it('alone or together, in chunks of any length, in blocks of any size, with a prefix hit: the same bits', async () => {
    expect(alone.flat()).toHaveLength(prompts.length * 12);
    for (const shape of [
      {},
      { maxBatchedTokens: 1 },
      { maxBatchedTokens: 7 },
      { blockSize: 5 },
      { blockSize: 4, prefixCache: true },
    ]) {
      expect(await generate(model, shape)).toEqual(alone);
    }
  });

  it.each([
    ['llama, tied', llama],
    ['llama, untied', untied],
    ['gpt2', gpt2],
  ])('%s: as near to its values in f32 as inputs of 8 bits allow', async (_, config) => {
    using plain = createModel(config, { seed: 8, device });
    using expanded = await servedModelFrom(sourceOf(plain, type, false), device);
    using kept = await servedModelFrom(sourceOf(plain, type, true), device);
    const [wanted, seen] = [await logitsOf(expanded), await logitsOf(kept)];
    // Inputs of 8 bits cost each product some 0.6 %, whatever the weight's type; halves are exact, but for the order of sums.
    const bound = type === 'F16' || type === 'BF16' ? 1e-5 : 0.04;
    expect(distance(seen, wanted)).toBeLessThan(bound);
    expect(wanted.some((value) => Math.abs(value) > 0.5)).toBe(true);
  });
});

it('keeps no f32 copy of a matrix', async () => {
  using plain = createModel(untied, { seed: 9, device });
  await device.sync();
  const before = memoryStats().liveBytes;
  using kept = await servedModelFrom(sourceOf(plain, 'Q4_0', true), device);
  await device.sync();
  const values = [...kept.parameters.values()].reduce((sum, { size }) => sum + size, 0);
  expect(memoryStats().liveBytes - before).toBeLessThan(values);
});
