// The model that both sides serve: one that is named, or one of random weights with the sizes of SmolLM2-135M.
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { createModel, newModelConfig, openHuggingFace, parameterCount, saveHuggingFace } from '#runtime/model/main.ts';
import { exportModel } from '#runtime/model/export.ts';
import { openDevice } from '#runtime/tensor/main.ts';
import { formatTokenizerConfig, trainTokenizer } from '#runtime/tokenizer/main.ts';

export interface Subject {
  readonly name: string;
  /** What our engine loads. */
  readonly ours: string;
  /** What llama.cpp loads: the same weights. */
  readonly gguf: string;
  /** Of the file that llama.cpp reads: about what a token of decoding takes from memory. */
  readonly bytes: number;
  readonly parameters: number | undefined;
  /** Token ids from 1 to below this are in prompts. */
  readonly vocabulary: number;
}

/** Where models of the benches are kept. */
export const cacheFolder = () => join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'windlass/bench');

/** Prompts are made of the first tokens, which every vocabulary has. */
const promptVocabulary = 256;

/** `model`: a folder in Hugging Face layout, which is exported to GGUF for the peer, or a GGUF file that both load. */
export async function subjectOf(model: string | undefined): Promise<Subject> {
  const path = model === undefined ? await randomModel() : resolve(model);
  if (!existsSync(path)) throw new Error(`there is no ${path}`);
  const name = model === undefined ? 'random weights in the sizes of SmolLM2-135M, F32' : basename(path);
  if (path.endsWith('.gguf'))
    return { name, ours: path, gguf: path, bytes: statSync(path).size, parameters: undefined, vocabulary: promptVocabulary };
  const gguf = await exported(path);
  const source = await openHuggingFace(path);
  const parameters = parameterCount(source.config);
  await source.close();
  return { name, ours: path, gguf, bytes: statSync(gguf).size, parameters, vocabulary: promptVocabulary };
}

/** The F32 GGUF file of a folder, beside the random model in the cache; made anew where the weights are younger. */
async function exported(folder: string): Promise<string> {
  const gguf = join(cacheFolder(), `${basename(folder)}-f32.gguf`);
  const weights = statSync(folder).mtimeMs;
  if (existsSync(gguf) && statSync(gguf).mtimeMs > weights) return gguf;
  mkdirSync(cacheFolder(), { recursive: true });
  rmSync(gguf, { force: true });
  await exportModel({ from: folder, to: gguf, recipe: 'F32' });
  return gguf;
}

async function randomModel(): Promise<string> {
  const folder = join(cacheFolder(), 'random-135m');
  if (existsSync(folder)) return folder;
  mkdirSync(cacheFolder(), { recursive: true });
  const temporary = mkdtempSync(join(cacheFolder(), '.making-'));
  using device = openDevice();
  const tokenizer = await trainTokenizer(['Call me Ishmael. Some years ago, never mind how long precisely. '], {
    vocabularySize: 300,
  });
  const config = newModelConfig(
    'llama',
    { hiddenSize: 576, layers: 30, heads: 9, kvHeads: 3, intermediateSize: 1536, contextLength: 8192 },
    { vocabularySize: 49_152, trainingLength: 8192, bosTokenId: 0, eosTokenIds: [0] },
  );
  using model = createModel(config, { seed: 1, device });
  await saveHuggingFace(model, join(temporary, 'model'), {
    files: [
      { name: 'tokenizer.json', content: tokenizer.toJson() },
      { name: 'tokenizer_config.json', content: formatTokenizerConfig({ eosToken: '<|endoftext|>' }) },
    ],
  });
  renameSync(join(temporary, 'model'), folder);
  rmSync(temporary, { recursive: true });
  return folder;
}

let state = 1;
/** Random tokens that no prompt had before: nothing of them is in a cache. */
export function freshPrompt({ vocabulary }: Subject, length: number): number[] {
  return Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return 1 + Math.floor((state / 2 ** 32) * (vocabulary - 1));
  });
}
