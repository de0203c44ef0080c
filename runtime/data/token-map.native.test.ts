import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { mapClose, mapOpen, mapRead } from '#kernels/binding.ts';
import { trainTokenizer } from '#runtime/tokenizer/main.ts';
import { createSampler } from './sampler.ts';
import { resolveData } from './source.ts';
import { splitHeldOut } from './split.ts';
import { openTokens } from './token-cache.ts';
import type { ReadableFile } from './token-store.ts';

function openMapping(path: string): ReadableFile {
  const map = mapOpen(path);
  return { read: (offset, into) => mapRead(map.handle, offset, into), close: () => mapClose(map.handle) };
}

it('batches read through a mapping are those read through a descriptor, also after the cache folder is gone', async () => {
  const root = await mkdtemp(join(tmpdir(), 'wl-map-'));
  const path = join(root, 'a.txt');
  await writeFile(path, 'Call me Ishmael. Some years ago, never mind how long precisely.\n'.repeat(500));
  const source = await resolveData(path, { baseDir: root });
  const tokenizer = await trainTokenizer(['Call me Ishmael. Some years ago'], { vocabularySize: 270 });
  const cacheDir = join(root, 'cache');
  const fresh = await openTokens(source, tokenizer, { cacheDir, openFile: openMapping });
  const again = await openTokens(source, tokenizer, { cacheDir, openFile: openMapping });
  const plain = await openTokens(source, tokenizer, { cacheDir });
  expect([fresh.fromCache, again.fromCache, plain.fromCache]).toEqual([false, true, true]);
  const { training } = splitHeldOut(plain.tokens, 0.1, 64);
  const [a, b, c] = [fresh, again, plain].map(({ store }) =>
    createSampler(store, training, { seed: 1, sequences: 8, length: 64 }),
  );
  await rm(root, { recursive: true });
  for (let step = 0; step < 50; step++) {
    const expected = c!.batch(step);
    expect(a!.batch(step)).toEqual(expected);
    expect(b!.batch(step)).toEqual(expected);
  }
  expect(() => again.store.read(again.tokens, new Int32Array(1))).toThrow(RangeError);
  for (const { store } of [fresh, again, plain]) store.close();
});
