// The tokenizer that a path of a manifest names.
import { readFile } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { Tokenizer } from '#runtime/tokenizer/main.ts';

/** From a folder, from the tokenizer.json of one (with what stands beside it), or from a JSON file of another name. */
export async function readTokenizer(path: string): Promise<Tokenizer> {
  if (basename(path) === 'tokenizer.json') return await Tokenizer.fromFolder(dirname(path));
  return path.endsWith('.json') ? Tokenizer.fromJson(await readFile(path, 'utf8')) : await Tokenizer.fromFolder(path);
}
