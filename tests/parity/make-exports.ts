// Writes models of ours, trained for some steps, as exports together with what our engine says: what check-export.py holds against transformers.
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { loadEngine } from '#runtime/engine/main.ts';
import { exportModel } from '#runtime/model/export.ts';
import { newModelConfig, saveHuggingFace } from '#runtime/model/main.ts';
import type { ModelConfig } from '#runtime/model/main.ts';
import { openDevice } from '#runtime/tensor/main.ts';
import type { Device } from '#runtime/tensor/main.ts';
import { initialWeights, Trainer } from '#runtime/train/trainer.ts';
import { folderOf } from './cases.ts';

/** transformers takes every GPT-2 in a GGUF file to have a context of 1024. */
const surroundings = { vocabularySize: 257, trainingLength: 1024, bosTokenId: 0, eosTokenIds: [0] };
const size = { hiddenSize: 48, layers: 3, heads: 4, dropout: 0 };
const configs: Readonly<Record<string, ModelConfig>> = {
  gpt2: newModelConfig('gpt2', size, surroundings),
  llama: newModelConfig('llama', { ...size, kvHeads: 2, tieEmbeddings: false, ropeTheta: 20_000 }, surroundings),
};
const prompts = [[5, 17, 160, 2, 33], [42]];

const folder = process.argv[2];
if (folder === undefined) throw new Error('usage: make-exports.ts FOLDER');
await mkdir(folder, { recursive: true });
using device = openDevice();
for (const [name, config] of Object.entries(configs)) await makeExport(device, name, config, folder);

/** `NAME` in Hugging Face layout, `NAME.gguf`, and `NAME.json` with prompts and their greedy completions. */
async function makeExport(device: Device, name: string, config: ModelConfig, folder: string): Promise<void> {
  const trained = join(folder, `${name}-trained`);
  // Wide initial weights keep the logits of a short training apart.
  const wide = { ...config, initializerRange: 0.4 };
  const optimizer = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1, clipNorm: 1 };
  const batch = { sequences: 2, length: 32, grains: 1 };
  using trainer = new Trainer({ config: wide, device, batch, seed: 0, recompute: 'none', optimizer });
  await trainer.load(initialWeights(wide, 7, device));
  for (let step = 1; step <= 5; step += 1) {
    const tokens = Int32Array.from({ length: 65 }, (_, index) => (index * index * step + 3 * index) % 257);
    await trainer.step({ inputs: tokens.subarray(0, 64), targets: tokens.subarray(1) }, step, 1e-3);
  }
  using whole = await trainer.execution.wholeModel();
  const files = ['tokenizer.json', 'tokenizer_config.json'].map((file) => ({ path: join(folderOf('gpt2'), file) }));
  await saveHuggingFace(whole!.model, trained, { files });
  await exportModel({ from: trained, to: join(folder, name), recipe: 'F32' });
  await exportModel({ from: trained, to: join(folder, `${name}.gguf`), recipe: 'F32' });

  const loaded = await loadEngine({ modelDir: trained, device });
  const greedy = [];
  for (const prompt of prompts) {
    const completion: number[] = [];
    for await (const piece of loaded.engine.generate({ prompt, maxTokens: 64, temperature: 0, ignoreEos: true })) {
      completion.push(...piece.tokens.map(({ id }) => id));
    }
    greedy.push({ prompt, completion });
  }
  await loaded.close();
  await writeFile(join(folder, `${name}.json`), JSON.stringify(greedy));
}
