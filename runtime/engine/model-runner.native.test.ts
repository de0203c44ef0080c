// The engine on a real model: nothing leaks, cancellation is at once, and text can be drawn from a model in training.
import { setImmediate as turn } from 'node:timers/promises';
import { afterAll, expect, it } from 'vitest';
import { createModel } from '#runtime/model/main.ts';
import { tinyLlama } from '#runtime/model/testing.ts';
import { expectNoLeaks, full, linear, liveTensorCount, openDevice, scope } from '#runtime/tensor/main.ts';
import { trainTokenizer } from '#runtime/tokenizer/main.ts';
import type { Tokenizer } from '#runtime/tokenizer/main.ts';
import { generateText } from './generate-text.ts';
import { createEngine } from './load-engine.ts';

const device = openDevice();
afterAll(() => device.close());

const text = 'Call me Ishmael. Some years ago, never mind how long precisely, having little money in my purse. '.repeat(20);

async function setup() {
  const tokenizer = await trainedTokenizer();
  const config = { ...tinyLlama, vocabularySize: tokenizer.vocabularySize, contextLength: 64, initializerRange: 0.3 };
  return { tokenizer, model: createModel(config, { seed: 3, device }) };
}

async function trainedTokenizer(): Promise<Tokenizer> {
  return await trainTokenizer([text], { vocabularySize: 300 });
}

it('frees the blocks of a cancelled request before the step in flight ends', async () => {
  const { tokenizer, model } = await setup();
  const engine = createEngine(model, tokenizer, { options: { maxBatchedTokens: 16, blockSize: 4 } });
  const controller = new AbortController();
  const prompt = tokenizer.encode(text).slice(0, 40);
  const cancelled = (async () => {
    for await (const piece of engine.generate({ prompt, maxTokens: 20 }, { signal: controller.signal })) void piece;
  })();
  const outcome = expect(cancelled).rejects.toThrow('enough');
  const other = (async () => {
    let all = '';
    for await (const piece of engine.generate({ prompt: prompt.slice(0, 5), maxTokens: 20, seed: 1 })) all += piece.text;
    return all;
  })();
  while (engine.stats().steps < 2) await turn();
  const held = engine.stats().usedBlocks;
  controller.abort(new Error('enough'));
  expect(engine.stats().usedBlocks).toBeLessThan(held);
  expect(engine.stats()).toMatchObject({ running: 1, finished: { abort: 1 } });
  await outcome;
  expect((await other).length).toBeGreaterThan(0);
  expect(engine.checkBlocks().used).toBe(0);
  await engine.close();
  model.dispose();
});

it('ends a step when the device has run it, also one that reads nothing', async () => {
  const { tokenizer, model } = await setup();
  const engine = createEngine(model, tokenizer, { options: { maxBatchedTokens: 16, blockSize: 4 } });
  let isFree = false;
  scope(() => void linear(full(device, [1024, 1024], 1), full(device, [1024, 1024], 1)));
  void device.sync().then(() => (isFree = true));
  const generating = Array.fromAsync(engine.generate({ prompt: tokenizer.encode(text).slice(0, 40), maxTokens: 1 }));
  while (engine.stats().steps === 0) await turn();
  expect(isFree).toBe(true);
  await generating;
  await engine.close();
  model.dispose();
});

it('leaves no tensor behind after hundreds of requests, some cancelled, some preempted', async () => {
  const { tokenizer, model } = await setup();
  const engine = createEngine(model, tokenizer, {
    options: { maxSequences: 8, maxBatchedTokens: 48, blockSize: 4, contextLength: 64, cacheBytes: 64 * 2 * 2 * 2 * 4 * 4 * 3 },
  });
  const ids = tokenizer.encode(text);
  const request = async (index: number) => {
    const controller = new AbortController();
    const prompt = ids.slice(index % 50, (index % 50) + 1 + (index % 39));
    // Some leave while their prompt is computed, long ones between its layers.
    if (index % 10 === 3) void turn().then(() => controller.abort(new Error('enough')));
    let pieces = 0;
    try {
      for await (const piece of engine.generate(
        {
          prompt,
          maxTokens: 1 + (index % 25),
          n: 1 + (index % 2),
          seed: index,
          logprobs: index % 3,
          ...(index % 4 === 3 ? { promptLogprobs: 1 } : {}),
        },
        { signal: controller.signal },
      )) {
        pieces += piece.tokens.length;
        if (index % 10 === 7 && pieces > 3) controller.abort(new Error('enough'));
      }
    } catch (error) {
      expect((error as Error).message).toBe('enough');
    }
  };
  await Promise.all(Array.from({ length: 20 }, (_, index) => request(index)));
  const before = liveTensorCount();
  for (let round = 1; round <= 15; round += 1) {
    await Promise.all(Array.from({ length: 20 }, (_, index) => request(20 * round + index)));
    expect(liveTensorCount()).toBe(before);
    expect(engine.checkBlocks().used).toBe(0);
  }
  const stats = engine.stats();
  expect(stats.requests).toBe(320);
  expect(stats.finished.abort).toBeGreaterThan(10);
  expect(stats.finished.error).toBe(0);
  expect(stats.preemptions).toBeGreaterThan(0);
  await engine.close();
  model.dispose();
});

it('draws samples of a model in training, the same for the same seed, and frees all it needs', async () => {
  const { tokenizer, model } = await setup();
  const options = { tokens: 30, temperature: 1, seed: 4 };
  const first = await expectNoLeaks(() => generateText(model, tokenizer, 'Call me', options));
  expect(first.length).toBeGreaterThan(0);
  expect(await generateText(model, tokenizer, 'Call me', options)).toBe(first);
  expect(await generateText(model, tokenizer, 'Call me', { ...options, seed: 5 })).not.toBe(first);
  await expect(generateText(model, tokenizer, text, options)).rejects.toMatchObject({ code: 'WL_PROMPT_TOO_LONG' });
  model.dispose();
});
