// `windlass export` and `windlass quantize`: a model as another folder in Hugging Face layout, or as one GGUF file.
import { access, readFile, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { WindlassError, toWindlassError } from '#runtime/api/errors.ts';
import type { RecipeName } from './gguf/recipes.ts';
import { describeModel, saveGguf } from './gguf/save-model.ts';
import type { WrittenTensor } from './gguf/save-model.ts';
import { writeHuggingFace } from './huggingface-writer.ts';
import { openModel } from './open-model.ts';
import type { OpenModel } from './open-model.ts';

export interface ExportOptions {
  /** Model folder in Hugging Face layout, or a GGUF file. */
  readonly from: string;
  /** A name that ends in `.gguf` makes a GGUF file, any other a folder. */
  readonly to: string;
  /** Types of the matrices in a GGUF file. */
  readonly recipe: RecipeName;
  /** Told each tensor of a GGUF file with what its type has cost. */
  readonly onTensor?: (written: WrittenTensor) => void;
}

const tokenizerFileNames = [
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'vocab.json',
  'merges.txt',
  'chat_template.jinja',
];

/** Exports a model; the target appears whole or not at all. Throws WL_FILE_MISSING, WL_FILE_EXISTS, WL_MODEL_INVALID, WL_TOKENIZER_INVALID. */
export async function exportModel(options: ExportOptions): Promise<void> {
  const source = await openModel(options.from);
  try {
    if (options.to.endsWith('.gguf')) await exportGguf(source, options);
    else if (source.description) {
      const message = `${options.from}: a GGUF file can be exported as another GGUF file, but not as a folder; let --to end in .gguf`;
      throw new WindlassError('WL_MODEL_INVALID', message, { details: { file: options.from } });
    } else await writeHuggingFace(source, options.to, { files: await tokenizerFiles(options.from) });
  } finally {
    await source.close();
  }
}

/** The files of a model folder that belong to its tokenizer. */
async function tokenizerFiles(folder: string): Promise<{ readonly path: string }[]> {
  const paths = tokenizerFileNames.map((name) => join(folder, name));
  const present = await Promise.all(paths.map(isThere));
  return paths.filter((_, index) => present[index]).map((path) => ({ path }));
}

async function exportGguf(source: OpenModel, { from, to, recipe, onTensor }: ExportOptions): Promise<void> {
  if (await isThere(to)) throw new WindlassError('WL_FILE_EXISTS', `${to} is there already`, { details: { path: to } });
  const description =
    source.description ??
    describeModel(source.config, {
      name: basename(resolve(from)),
      tokenizer: await readJson(join(from, 'tokenizer.json')),
      chatTemplate: await readChatTemplate(from),
    });
  const temporary = join(dirname(to), `.${basename(to)}.tmp`);
  try {
    await saveGguf(source, temporary, recipe, description, onTensor);
    await rename(temporary, to);
  } catch (error) {
    await rm(temporary, { force: true });
    throw toWindlassError(error);
  }
}

/** The chat template of a folder, where it has one: a file of its own, or part of tokenizer_config.json. */
async function readChatTemplate(folder: string): Promise<string | undefined> {
  const file = join(folder, 'chat_template.jinja');
  if (await isThere(file)) return await readText(file);
  const config = join(folder, 'tokenizer_config.json');
  if (!(await isThere(config))) return undefined;
  const { chat_template: template } = (await readJson(config)) as { readonly chat_template?: unknown };
  return typeof template === 'string' ? template : undefined;
}

async function readJson(path: string): Promise<object> {
  const text = await readText(path);
  try {
    const json: unknown = JSON.parse(text);
    if (typeof json === 'object' && json !== null) return json;
  } catch (cause) {
    throw new WindlassError('WL_TOKENIZER_INVALID', `${path}: it is not JSON`, { cause, details: { file: path } });
  }
  throw new WindlassError('WL_TOKENIZER_INVALID', `${path}: it is not a JSON object`, { details: { file: path } });
}

async function readText(path: string): Promise<string> {
  return await readFile(path, 'utf8').catch((error: unknown) => {
    throw toWindlassError(error);
  });
}

async function isThere(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
