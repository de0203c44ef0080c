// Turns a finished run into a model version: a Hugging Face folder below the models directory, with the digest of all its files.
import { mkdir, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { PublishedModel } from '#runtime/api/messages.ts';
import { familyOf, folderDigest, parameterCount, saveHuggingFace } from '#runtime/model/main.ts';
import type { Model } from '#runtime/model/main.ts';
import type { Tokenizer } from '#runtime/tokenizer/main.ts';
import { tokenizerFiles } from './corpus.ts';

export interface PublishOptions {
  readonly modelsDir: string;
  /** Name of the model that gets a version. */
  readonly model: string;
  /** Makes the folder of this job's version unique. */
  readonly uid: string;
  readonly step: number;
  readonly metrics: Readonly<Record<string, number>>;
}

/** Writes the version, or finds it written by an earlier try: the folder appears only when it is whole. */
export async function publish(model: Model, tokenizer: Tokenizer, options: PublishOptions): Promise<PublishedModel> {
  const path = join(options.model, `${options.uid.slice(0, 8)}-${options.step}`);
  const folder = join(options.modelsDir, path);
  await mkdir(join(options.modelsDir, options.model), { recursive: true });
  if (!(await exists(folder))) await saveHuggingFace(model, folder, { files: tokenizerFiles(tokenizer) });
  const { config } = model;
  return {
    path,
    digest: await folderDigest(folder),
    format: 'huggingface',
    architecture: familyOf(config).architecture,
    parameters: parameterCount(config),
    contextLength: config.contextLength,
    vocabularySize: config.vocabularySize,
    step: options.step,
    bytes: await bytesIn(folder),
    metrics: { ...options.metrics },
  };
}

async function exists(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}

async function bytesIn(folder: string): Promise<number> {
  const sizes = await Promise.all((await readdir(folder)).map((name) => stat(join(folder, name)).then(({ size }) => size)));
  return sizes.reduce((sum, size) => sum + size, 0);
}
