// Models saved, loaded and saved again: the second folder is the first, and nothing that PyTorch stored is lost on the way.
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, expect, it } from 'vitest';
import { exportModel } from '#runtime/model/export.ts';
import { loadHuggingFace, saveHuggingFace } from '#runtime/model/main.ts';
import { openDevice } from '#runtime/tensor/main.ts';
import { cases, folderOf, readTensors } from './cases.ts';

const device = openDevice();
afterAll(() => device.close());
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wl-round-trip-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

async function filesOf(path: string): Promise<Map<string, string>> {
  const names = await readdir(path);
  return new Map(
    await Promise.all(names.sort().map(async (name) => [name, await readFile(join(path, name), 'base64')] as const)),
  );
}

async function storedBy(path: string): Promise<Map<string, Float32Array>> {
  const shards = (await readdir(path)).filter((name) => /^model.*\.safetensors$/.test(name));
  const tensors = await Promise.all(shards.map((name) => readTensors(join(path, name))));
  return new Map(tensors.flatMap((each) => [...each]).sort(([a], [b]) => (a < b ? -1 : 1)));
}

it.each(cases)(
  '%s: saved, loaded and saved again it is byte-identical, with the values that transformers stored',
  async (name) => {
    const [first, second] = [join(folder, 'first'), join(folder, 'second')];
    using model = await loadHuggingFace(folderOf(name), device);
    await saveHuggingFace(model, first);
    using again = await loadHuggingFace(first, device);
    await saveHuggingFace(again, second);
    expect(await filesOf(second)).toEqual(await filesOf(first));
    expect(again.config).toEqual(model.config);
    expect(await storedBy(first)).toEqual(await storedBy(folderOf(name)));
  },
);

it.each(cases)('%s: an export has the weights that a saved model has', async (name) => {
  const [exported, saved] = [join(folder, 'exported'), join(folder, 'saved')];
  await exportModel({ from: folderOf(name), to: exported, recipe: 'F32' });
  using model = await loadHuggingFace(folderOf(name), device);
  await saveHuggingFace(model, saved);
  for (const [file, content] of await filesOf(saved)) expect((await filesOf(exported)).get(file), file).toBe(content);
});
