// Opens a model wherever it lies: a folder in Hugging Face layout, a GGUF file, or a folder with one such file.
import { access, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { WindlassError, toWindlassError } from '#runtime/api/errors.ts';
import { openGgufModel } from './gguf/open-model.ts';
import type { GgufDescription } from './gguf/save-model.ts';
import type { GgufVocabulary } from './gguf/vocabulary.ts';
import { openHuggingFace } from './huggingface-reader.ts';
import type { WeightSource } from './weight-source.ts';

export interface OpenModel extends WeightSource {
  /** The tokenizer of a GGUF file; that of a folder lies in files beside the weights. */
  readonly vocabulary?: GgufVocabulary;
  /** What a GGUF file says beside its weights. */
  readonly description?: GgufDescription;
  close(): Promise<void>;
}

/** Throws WL_FILE_MISSING, WL_MODEL_INVALID, WL_SAFETENSORS_INVALID, WL_GGUF_INVALID, WL_TOKENIZER_INVALID. */
export async function openModel(path: string): Promise<OpenModel> {
  const file = await ggufFileOf(path);
  return file === undefined ? await openHuggingFace(path) : await openGgufModel(file);
}

/** The GGUF file that `path` is or holds; undefined for a folder in Hugging Face layout, or one with neither. */
async function ggufFileOf(path: string): Promise<string | undefined> {
  const found = await stat(path).catch((error: unknown) => {
    throw toWindlassError(error);
  });
  if (!found.isDirectory()) return path;
  if (await isThere(join(path, 'config.json'))) return undefined;
  const names = (await readdir(path)).filter((name) => name.endsWith('.gguf')).sort();
  const [only, ...others] = names;
  if (only === undefined) return undefined;
  if (others.length === 0) return join(path, only);
  throw new WindlassError(
    'WL_MODEL_INVALID',
    `${path}: it holds ${names.length} GGUF files, ${names.slice(0, 5).join(', ')}; name one`,
    {
      details: { path },
    },
  );
}

async function isThere(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
