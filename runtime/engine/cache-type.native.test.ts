// What the type of the cache changes: the memory that it takes, the tokens that it holds, and who may ask for it.
import { afterAll, expect, it } from 'vitest';
import { memoryStats } from '#kernels/binding.ts';
import { cacheTypes as offered } from '#crds/v1alpha1/inference-service.ts';
import { createModel } from '#runtime/model/main.ts';
import { tinyLlama } from '#runtime/model/testing.ts';
import { cacheTypes, openDevice } from '#runtime/tensor/main.ts';
import { trainTokenizer } from '#runtime/tokenizer/main.ts';
import { createEngine } from './load-engine.ts';
import { cacheBytesPerToken, ModelRunner } from './model-runner.ts';

const device = openDevice();
afterAll(() => device.close());
const tokenizer = await trainTokenizer(['Call me Ishmael. '.repeat(20)], { vocabularySize: 270 });
const model = createModel(
  { ...tinyLlama, headSize: 64, vocabularySize: tokenizer.vocabularySize, contextLength: 64 },
  { seed: 3, device },
);
afterAll(() => model.dispose());

it('a manifest may name exactly the types that there are', () => {
  expect(offered.toSorted()).toEqual(cacheTypes.toSorted());
});

it('refuses another name with the list of those that are known', () => {
  expect(() => createEngine(model, tokenizer, { options: { cacheType: 'q4_0' } })).toThrow(
    expect.objectContaining({
      code: 'WL_MANIFEST_INVALID',
      message: 'spec.engine.cacheType: q4_0; known are f32, f16, bf16, q8_0',
    }),
  );
});

it('takes half of the bytes of f32 as halves, and 34 for 128 in q8_0, with whole blocks for each head', () => {
  const bytes = (config: Partial<typeof model.config>) =>
    cacheTypes.map((type) => [type, cacheBytesPerToken({ config: { ...model.config, ...config } }, type)]);
  expect(Object.fromEntries(bytes({}))).toEqual({ f32: 2048, f16: 1024, bf16: 1024, q8_0: 544 });
  expect(Object.fromEntries(bytes({ headSize: 40 }))).toMatchObject({ f32: 1280, q8_0: 544 });
});

it('the same memory holds more tokens, in blocks that take what is told', async () => {
  const blocks: Record<string, number> = {};
  for (const cacheType of cacheTypes) {
    const engine = createEngine(model, tokenizer, { options: { cacheType, cacheBytes: 2 ** 20, blockSize: 16 } });
    const stats = engine.stats();
    await engine.close();
    await device.sync();
    const before = memoryStats().liveBytes;
    const runner = new ModelRunner(model, { blocks: stats.blocks, blockSize: 16, cacheType });
    const taken = memoryStats().liveBytes - before;
    expect(stats.cacheType).toBe(cacheType);
    expect(stats.cacheBytes).toBeLessThanOrEqual(2 ** 20);
    expect(taken).toBeGreaterThanOrEqual(stats.cacheBytes);
    // The allocator rounds up by a sixteenth at most.
    expect(taken).toBeLessThanOrEqual((stats.cacheBytes * 17) / 16);
    runner.close();
    await device.sync();
    blocks[cacheType] = stats.blocks;
  }
  expect(blocks).toEqual({ f32: 32, f16: 64, bf16: 64, q8_0: 120 });
});
