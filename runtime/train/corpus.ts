// What a job learns from, made ready: the tokenizer (its own, given, or trained), the tokenised data, and the split into training and held-out.
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { TrainingData } from '#crds/v1alpha1/training-data.ts';
import { mapClose, mapOpen, mapRead } from '#kernels/binding.ts';
import { isWindlassError, WindlassError } from '#runtime/api/errors.ts';
import { openTokens, readDocuments, resolveData, sourceDigest, splitHeldOut } from '#runtime/data/main.ts';
import type { DataSource, Split, TokenData } from '#runtime/data/main.ts';
import { formatTokenizerConfig, Tokenizer, trainTokenizer } from '#runtime/tokenizer/main.ts';
import { aboutField, localPath } from './local-path.ts';
import { readTokenizer } from './read-tokenizer.ts';

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
    openFile(path) {
      const map = mapOpen(path);
      return { read: (offset, into) => mapRead(map.handle, offset, into), close: () => mapClose(map.handle) };
    },
  });
  try {
    return { tokenizer, tokens, split: splitHeldOut(tokens.tokens, data.heldOut, options.length) };
  } catch (error) {
    tokens.store.close();
    throw aboutField(`data.uri ${data.uri}`, error);
  }
}

async function openTokenizer(source: DataSource, options: CorpusOptions): Promise<Tokenizer> {
  const { train, uri } = options.data.tokenizer ?? {};
  if (train) return await ownTokenizer(source, train.vocabularySize, options);
  const path = uri === undefined ? options.modelFolder : localPath(uri);
  if (path === undefined)
    throw new WindlassError('WL_MANIFEST_INVALID', 'spec.data.tokenizer is needed: the model brings none', {
      details: { path: 'spec.data.tokenizer' },
    });
  try {
    return await readTokenizer(path);
  } catch (error) {
    throw aboutField(uri === undefined ? 'model.from' : 'data.tokenizer.uri', error);
  }
}

/** Trains a tokenizer on the data, or takes the one that an earlier start trained on the same data. */
async function ownTokenizer(
  source: DataSource,
  vocabularySize: number,
  { jobDir, onProgress }: CorpusOptions,
): Promise<Tokenizer> {
  const path = join(jobDir, 'cache', `tokenizer-${vocabularySize}-${await sourceDigest(source)}.json`);
  try {
    return Tokenizer.fromJson(await readFile(path, 'utf8'));
  } catch (error) {
    const isUseless = isWindlassError(error) && error.code === 'WL_TOKENIZER_INVALID';
    if (!isUseless && (error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  const trained = await trainTokenizer(readDocuments(source), {
    vocabularySize,
    onProgress: (share) => onProgress('training tokenizer', share),
  });
  await mkdir(dirname(path), { recursive: true });
  await writeFile(`${path}.tmp`, trained.toJson(), { flush: true });
  await rename(`${path}.tmp`, path);
  return trained;
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
