// The tokenizer that a path of a manifest names.
import { readFile } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { storedVocabulary } from '#runtime/model/main.ts';
import { ggufTokenizer, Tokenizer } from '#runtime/tokenizer/main.ts';

/**
 * From a folder, from the tokenizer.json of one (with what stands beside it), from a JSON file of another name, or from a GGUF file. Throws
 * WL_TOKENIZER_INVALID, also for one that can't be written as tokenizer.json, as the model that learns with it will be.
 */
export async function readTokenizer(path: string): Promise<Tokenizer> {
  if (path.endsWith('.gguf')) {
    const tokenizer = ggufTokenizer(await storedVocabulary(path));
    tokenizer.toJson();
    return tokenizer;
  }
  if (basename(path) === 'tokenizer.json') return await Tokenizer.fromFolder(dirname(path));
  return path.endsWith('.json') ? Tokenizer.fromJson(await readFile(path, 'utf8')) : await Tokenizer.fromFolder(path);
}
