// Greedy texts of the engine against those of transformers' `generate`.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { loadEngine } from '#runtime/engine/main.ts';
import type { Engine } from '#runtime/engine/engine.ts';
import { exportModel } from '#runtime/model/export.ts';
import { openDevice } from '#runtime/tensor/main.ts';
import { cases, folderOf, readExpected } from './cases.ts';

const device = openDevice();
afterAll(() => device.close());

async function complete(engine: Engine, prompt: readonly number[], maxTokens: number): Promise<number[]> {
  const ids: number[] = [];
  for await (const piece of engine.generate({ prompt, maxTokens, temperature: 0, ignoreEos: true })) {
    ids.push(...piece.tokens.map(({ id }) => id));
  }
  return ids;
}

it.each(cases)('%s: 64 greedy tokens are those of transformers, for all prompts at once and in small chunks', async (name) => {
  const { greedy } = await readExpected(name);
  expect(greedy.map(({ completion }) => completion.length)).toEqual([64, 64, 64]);
  for (const options of [{}, { maxBatchedTokens: 5, blockSize: 4 }]) {
    const loaded = await loadEngine({ modelDir: folderOf(name), device, options });
    try {
      const texts = await Promise.all(greedy.map(({ prompt }) => complete(loaded.engine, prompt, 64)));
      expect(texts).toEqual(greedy.map(({ completion }) => completion));
    } finally {
      await loaded.close();
    }
  }
});

it.each(cases)('%s: the same as a GGUF file gives the same tokens, and the same ids of texts', async (name) => {
  const { greedy } = await readExpected(name);
  const folder = await mkdtemp(join(tmpdir(), 'wl-greedy-'));
  const file = join(folder, 'model.gguf');
  try {
    await exportModel({ from: folderOf(name), to: file, recipe: 'F32' });
    const loaded = await loadEngine({ modelDir: file, device });
    const original = await loadEngine({ modelDir: folderOf(name), device });
    try {
      const texts = await Promise.all(greedy.map(({ prompt }) => complete(loaded.engine, prompt, 64)));
      expect(texts).toEqual(greedy.map(({ completion }) => completion));
      for (const text of ['Call me Ishmael.', ' 12 naïve\n\nthe whale', '<|endoftext|>the'])
        expect(loaded.tokenizer.encode(text), text).toEqual(original.tokenizer.encode(text));
    } finally {
      await loaded.close();
      await original.close();
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});
