// What a job learns from, made ready: the tokenizer (its own, given, or trained), the tokenised data, and the split into training and held-out.
import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TrainingData } from '#crds/v1alpha1/training-data.ts';
import { WindlassError } from '#runtime/api/errors.ts';
import { openTokens, readDocuments, resolveData, splitHeldOut } from '#runtime/data/main.ts';
import type { DataSource, Split, TokenData } from '#runtime/data/main.ts';
import { formatTokenizerConfig, Tokenizer, trainTokenizer } from '#runtime/tokenizer/main.ts';
import { localPath } from './local-path.ts';

export interface Corpus {
  readonly tokenizer: Tokenizer;
  readonly tokens: TokenData;
  readonly split: Split;
}

export interface CorpusOptions {
  readonly data: TrainingData;
  readonly jobDir: string;
  /** Folder of the model that training continues from: its tokenizer is used where the job names none. */
  readonly modelFolder: string | undefined;
  /** Tokens of a training sequence. */
  readonly length: number;
  readonly onProgress: (phase: string, share: number) => void;
}

/** Prepares the data; the second time everything comes from the job's folder. Throws WL_FILE_MISSING, WL_DATA_*, WL_TOKENIZER_*. */
export async function prepareCorpus(options: CorpusOptions): Promise<Corpus> {
  const { data, jobDir, onProgress } = options;
  const source = await resolveData(data.uri, { field: data.field, baseDir: process.cwd() });
  const tokenizer = await openTokenizer(source, options);
  const tokens = await openTokens(source, tokenizer, {
    cacheDir: join(jobDir, 'cache'),
    onProgress: (share) => onProgress('tokenizing', share),
  });
  return { tokenizer, tokens, split: splitHeldOut(tokens.tokens, data.heldOut, options.length) };
}

async function openTokenizer(source: DataSource, { data, jobDir, modelFolder, onProgress }: CorpusOptions): Promise<Tokenizer> {
  const wanted = data.tokenizer;
  if (wanted?.train) {
    const path = join(jobDir, 'tokenizer.json');
    const saved = await readFile(path, 'utf8').catch(() => undefined);
    if (saved !== undefined) return Tokenizer.fromJson(saved);
    const { vocabularySize } = wanted.train;
    const trained = await trainTokenizer(readDocuments(source), {
      vocabularySize,
      onProgress: (share) => onProgress('training tokenizer', share),
    });
    await writeFile(`${path}.tmp`, trained.toJson());
    await rename(`${path}.tmp`, path);
    return trained;
  }
  const folder = wanted?.uri === undefined ? modelFolder : localPath(wanted.uri);
  if (folder === undefined)
    throw new WindlassError('WL_MANIFEST_INVALID', 'spec.data.tokenizer is needed: the model brings none', {
      details: { path: 'spec.data.tokenizer' },
    });
  return folder.endsWith('.json') ? Tokenizer.fromJson(await readFile(folder, 'utf8')) : Tokenizer.fromFolder(folder);
}

/** The files that make a folder's tokenizer work elsewhere; special tokens that the tokenizer only implies are named. */
export function tokenizerFiles(tokenizer: Tokenizer): { name: string; content: string }[] {
  const text = (id: number) => Buffer.from(tokenizer.token(id)).toString();
  const { config, bos, eos } = tokenizer;
  const named = {
    ...(bos === undefined ? {} : { bosToken: text(bos) }),
    ...(eos === undefined ? {} : { eosToken: text(eos) }),
    ...config,
  };
  return [
    { name: 'tokenizer.json', content: tokenizer.toJson() },
    { name: 'tokenizer_config.json', content: formatTokenizerConfig(named) },
  ];
}
