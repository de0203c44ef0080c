// Prints what a small model generates with each type of cache: run under several WL_THREADS and WL_ISA by the test beside it.
import { createModel } from '#runtime/model/main.ts';
import { tinyLlama } from '#runtime/model/testing.ts';
import { cacheTypes, openDevice } from '#runtime/tensor/main.ts';
import type { CacheType } from '#runtime/tensor/main.ts';
import { Engine } from './engine.ts';
import { ModelRunner } from './model-runner.ts';

const device = openDevice();
const config = { ...tinyLlama, hiddenSize: 48, headSize: 8, vocabularySize: 211, contextLength: 96, initializerRange: 0.3 };
const model = createModel(config, { seed: 7, device });

async function generate(cacheType: CacheType): Promise<number[][][]> {
  const engine = new Engine({
    runner: new ModelRunner(model, { blocks: 60, blockSize: 8, cacheType }),
    vocabulary: { size: 211, tokenBytes: (id) => Uint8Array.of(id), endOfText: new Set() },
    limits: { contextLength: 96, maxSequences: 8, maxBatchedTokens: 64, maxWaiting: 100, prefixCache: true },
    now: () => 0,
    randomSeed: () => 0n,
    hashSeed: 'test',
  });
  const outputs = await Promise.all(
    Array.from({ length: 8 }, async (_, i) => {
      const prompt = Array.from({ length: 1 + i * 9 }, (_, position) => (position * 31 + i * 17) % 211);
      const tokens: number[][] = [];
      const request = { prompt, maxTokens: 20, temperature: i / 4, topP: i % 2 === 0 ? 1 : 0.9, seed: i, logprobs: 0 };
      for await (const piece of engine.generate(request)) tokens.push(...piece.tokens.map(({ id, logprob }) => [id, logprob]));
      return tokens;
    }),
  );
  await engine.close();
  return outputs;
}

const outputs: number[][][][] = [];
for (const type of cacheTypes) outputs.push(await generate(type));
process.stdout.write(JSON.stringify(outputs));
model.dispose();
device.close();
