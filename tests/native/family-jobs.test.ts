// A job of the family that differs most from the others: a new model is trained and published, a second job goes on with it, and the engine serves what comes out.
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, expect, it } from 'vitest';
import { loadEngine } from '#runtime/engine/main.ts';
import { openDevice } from '#runtime/tensor/main.ts';
import { newFolder, readMetrics, runRank, tinyJob } from './rank.ts';

const device = openDevice();
afterAll(() => device.close());
const folders: string[] = [];
beforeEach(async () => {
  folders.push(await newFolder(), await newFolder());
});
afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true });
});

/** The folder of the model that a job published, and its losses. */
async function train(folder: string, job: object) {
  const end = await runRank(folder, tinyJob(folder, job));
  if (end.code !== 0 || !end.published) throw new Error(`the rank ended with ${end.code ?? end.signal}\n${end.log}`);
  const losses = (await readMetrics(folder)).map((line) => line['train/loss']).filter((loss) => loss !== undefined);
  return { modelDir: join(folder, 'models', end.published.path), losses };
}

const families = [['mixtral', { kvHeads: 2, experts: 4, intermediateSize: 32 }]] as const;

it.each(families)('%s: a new model is trained, published, trained on and served', async (family, config) => {
  const [one = '', two = ''] = folders;
  const first = await train(one, { family, config, steps: 12 });
  const second = await train(two, { from: first.modelDir, data: { tokenizer: undefined }, steps: 4 });
  expect(first.losses).toHaveLength(12);
  expect(Math.max(...second.losses), 'it goes on where the first job ended').toBeLessThan(first.losses[0]!);
  const loaded = await loadEngine({ modelDir: second.modelDir, device });
  try {
    const ids: number[] = [];
    for await (const piece of loaded.engine.generate({ prompt: [5, 17, 33], maxTokens: 12, temperature: 0, ignoreEos: true })) {
      ids.push(...piece.tokens.map(({ id }) => id));
    }
    expect(ids).toHaveLength(12);
  } finally {
    await loaded.close();
  }
});
