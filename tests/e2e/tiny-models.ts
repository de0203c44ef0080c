// Models too small to know anything, each with a text of its own that it answers: what a service that changes its model is held against.
import { join } from 'node:path';
import { pino } from 'pino';
import { createModel, folderDigest, newModelConfig, saveHuggingFace } from '#runtime/model/main.ts';
import { runEngine } from '#runtime/serve/run-engine.ts';
import { openDevice } from '#runtime/tensor/main.ts';
import { formatTokenizerConfig, trainTokenizer } from '#runtime/tokenizer/main.ts';

export interface TinyModel {
  readonly path: string;
  /** sha256 in hexadecimal. */
  readonly digest: string;
  /** What it goes on with after the prompt, most probable token by most probable token. */
  readonly text: string;
}

const words = 'Call me Ishmael. Some years ago, never mind how long precisely, having little or no money in my purse. '.repeat(
  30,
);

/** Writes a model with random weights for each seed into a folder of its own, and asks it once. */
export async function tinyModels(
  folder: string,
  seeds: readonly number[],
  prompt: string,
  maxTokens: number,
): Promise<TinyModel[]> {
  const tokenizer = await trainTokenizer([words], { vocabularySize: 320 });
  const config = newModelConfig(
    'llama',
    { hiddenSize: 32, layers: 2, heads: 4, kvHeads: 2, contextLength: 128 },
    { vocabularySize: tokenizer.vocabularySize, trainingLength: 128, bosTokenId: 0, eosTokenIds: [0] },
  );
  const models: TinyModel[] = [];
  for (const seed of seeds) {
    const path = join(folder, `seed-${seed}`);
    const device = openDevice();
    const model = createModel({ ...config, initializerRange: 0.3 }, { seed, device });
    await saveHuggingFace(model, path, {
      files: [
        { name: 'tokenizer.json', content: tokenizer.toJson() },
        { name: 'tokenizer_config.json', content: formatTokenizerConfig({ eosToken: '<|endoftext|>' }) },
      ],
    });
    model.dispose();
    device.close();
    models.push({ path, digest: await folderDigest(path), text: await answerOf(path, prompt, maxTokens) });
  }
  return models;
}

async function answerOf(modelDir: string, prompt: string, maxTokens: number): Promise<string> {
  const stop = new AbortController();
  const ready = Promise.withResolvers<string>();
  const env = {
    WL_NAMESPACE: 'default',
    WL_NAME: 'tiny',
    WL_POD_NAME: 'tiny-0',
    WL_SERVICE: '{}',
    WL_MODEL_DIR: modelDir,
    WL_MODEL_NAME: 'tiny',
    WL_POD_IP: '127.0.0.1',
    WL_PORT: '0',
    WL_TERMINATION_LOG: join(modelDir, '../termination-log'),
  };
  const { signal } = stop;
  const ended = runEngine({ env, log: pino({ level: 'silent' }), signal, hurry: signal, onReady: ready.resolve });
  const url = await Promise.race([ready.promise, ended.then((code) => Promise.reject(new Error(`it ended with ${code}`)))]);
  const body = JSON.stringify({ prompt, max_tokens: maxTokens, temperature: 0, ignore_eos: true });
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(`${url}/v1/completions`, { method: 'POST', headers, body });
  const { choices } = (await response.json()) as { choices: { text: string }[] };
  stop.abort();
  await ended;
  return choices[0]!.text;
}
