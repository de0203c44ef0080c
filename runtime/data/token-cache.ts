// Tokenises a data source once: the ids lie in a cache folder named after content, tokenizer and rules, and are checked before use.
import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readFile, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { z } from 'zod';
import { WindlassError } from '#runtime/api/errors.ts';
import { StreamEncoder } from '#runtime/tokenizer/main.ts';
import type { Tokenizer } from '#runtime/tokenizer/main.ts';
import { readDocuments } from './documents.ts';
import type { DataSource } from './source.ts';
import { openDescriptor, tokenStoreOfFile } from './token-store.ts';
import type { ReadableFile, TokenStore } from './token-store.ts';

/** Goes up whenever the same text may give other ids. */
const cacheFormat = 1;
/** Ids are written in pieces of this many. */
const bufferTokens = 64 * 1024;
/** What a killed process left behind is taken away when it is this old: a younger one may still be at work. */
const abandonedAfterMs = 60 * 60 * 1000;

const Meta = z.object({
  format: z.literal(cacheFormat),
  tokenizer: z.string(),
  tokens: z.int().min(0),
  width: z.union([z.literal(2), z.literal(4)]),
  documents: z.int().min(0),
  /** Bytes of the source. */
  sourceBytes: z.int().min(0),
  /** sha256 of tokens.bin. */
  sha256: z.string(),
});
type Meta = z.output<typeof Meta>;

export interface OpenTokensOptions {
  readonly cacheDir: string;
  /** Share of the source that was tokenised, 0 to 1; not called when the cache is used. */
  readonly onProgress?: (share: number) => void;
  /** Opens tokens.bin for reading, such as by mapping it into memory. Default: a descriptor. */
  readonly openFile?: (path: string) => ReadableFile;
}

export interface TokenData {
  readonly store: TokenStore;
  /** Name of the cache folder: changes with content, tokenizer and rules, and with nothing else. */
  readonly key: string;
  readonly tokens: number;
  readonly documents: number;
  readonly sourceBytes: number;
  readonly fromCache: boolean;
}

/**
 * Opens the tokens of a source, tokenising it if the cache lacks them or they are damaged. After each document stands the tokenizer's
 * end-of-text token, unless the text ends with it. The event loop gets a turn every few milliseconds; files may be larger than memory.
 * Throws WL_DATA_INVALID, WL_DATA_EMPTY, and WL_TOKENIZER_INVALID for several documents without an end-of-text token.
 */
export async function openTokens(source: DataSource, tokenizer: Tokenizer, options: OpenTokensOptions): Promise<TokenData> {
  const key = await keyOf(source, tokenizer);
  const folder = join(options.cacheDir, key);
  const openFile = options.openFile ?? openDescriptor;
  const cached = await readCache(folder, openFile);
  const { store, meta } = cached ?? (await writeCache(folder, source, tokenizer, openFile, options.onProgress));
  const { tokens, documents, sourceBytes } = meta;
  return { store, key, tokens, documents, sourceBytes, fromCache: cached !== undefined };
}

async function keyOf(source: DataSource, tokenizer: Tokenizer): Promise<string> {
  return createHash('sha256')
    .update(JSON.stringify([cacheFormat, tokenizer.digest, tokenizer.eos ?? null, await sourceDigest(source)]))
    .digest('hex');
}

/** sha256 over the content of the files of a source, their kinds and the field: changes when the documents may. */
export async function sourceDigest(source: DataSource): Promise<string> {
  const files = [];
  for (const file of source.files) files.push([file.kind, await hashFile(file.path)]);
  const field = source.files.some((file) => file.kind === 'jsonl') ? source.field : null;
  return createHash('sha256')
    .update(JSON.stringify([field, files]))
    .digest('hex');
}

async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

/** A cache that is open: its file can be read even after another process put an equal one in its place. */
interface OpenCache {
  readonly meta: Meta;
  readonly store: TokenStore;
}

/** What the cache folder holds if it is whole; undefined if it is missing or a byte of it changed. */
async function readCache(folder: string, openFile: (path: string) => ReadableFile): Promise<OpenCache | undefined> {
  let store: TokenStore | undefined;
  try {
    const { checksum, ...rest } = JSON.parse(await readFile(join(folder, 'meta.json'), 'utf8')) as Record<string, unknown>;
    const meta = Meta.parse(rest);
    const path = join(folder, 'tokens.bin');
    store = tokenStoreOfFile(openFile(path), meta.tokens, meta.width);
    const whole = checksum === checksumOf(meta) && (await stat(path)).size === meta.tokens * meta.width;
    if (whole && (await hashFile(path)) === meta.sha256) return { meta, store };
  } catch {
    // Missing or damaged: it is made anew, which reports what is wrong with the disk if anything is.
  }
  store?.close();
  return undefined;
}

function checksumOf(meta: Meta): string {
  return createHash('sha256').update(JSON.stringify(meta)).digest('hex');
}

/** Writes into a folder of another name and renames it when all is on disk, so that no reader sees half a cache. */
async function writeCache(
  folder: string,
  source: DataSource,
  tokenizer: Tokenizer,
  openFile: (path: string) => ReadableFile,
  onProgress: ((share: number) => void) | undefined,
): Promise<OpenCache> {
  await mkdir(dirname(folder), { recursive: true });
  await removeAbandoned(folder);
  const partial = `${folder}.partial-${randomUUID()}`;
  await mkdir(partial);
  try {
    const meta = await writeTokens(join(partial, 'tokens.bin'), source, tokenizer, onProgress);
    await writeFile(join(partial, 'meta.json'), `${JSON.stringify({ ...meta, checksum: checksumOf(meta) }, null, 2)}\n`, {
      flush: true,
    });
    await syncFolder(partial);
    const store = tokenStoreOfFile(openFile(join(partial, 'tokens.bin')), meta.tokens, meta.width);
    await putInPlace(partial, folder);
    await syncFolder(dirname(folder));
    return { meta, store };
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    throw error;
  }
}

/** Renames a whole cache to its final name. What is there already is damaged, or equal and of another process. */
async function putInPlace(partial: string, folder: string): Promise<void> {
  for (;;) {
    try {
      return await rename(partial, folder);
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && (error.code === 'ENOTEMPTY' || error.code === 'EEXIST'))) throw error;
    }
    const other = await readCache(folder, openDescriptor);
    other?.store.close();
    if (other) return await rm(partial, { recursive: true });
    await rm(folder, { recursive: true, force: true });
  }
}

async function removeAbandoned(folder: string): Promise<void> {
  for (const name of await readdir(dirname(folder))) {
    if (!name.startsWith(`${basename(folder)}.partial-`)) continue;
    const path = join(dirname(folder), name);
    const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Infinity }));
    if (Date.now() - mtimeMs > abandonedAfterMs) await rm(path, { recursive: true, force: true });
  }
}

async function syncFolder(path: string): Promise<void> {
  const handle = await open(path);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function writeTokens(
  path: string,
  source: DataSource,
  tokenizer: Tokenizer,
  onProgress: ((share: number) => void) | undefined,
): Promise<Meta> {
  const width = tokenizer.vocabularySize <= 0x10000 ? 2 : 4;
  const sourceBytes = source.files.reduce((sum, file) => sum + file.bytes, 0);
  const handle = await open(path, 'wx');
  const hash = createHash('sha256');
  const buffer = Buffer.alloc(bufferTokens * width);
  let filled = 0;
  let tokens = 0;
  let documents = 0;
  let lastToken: number | undefined;
  const flush = async (): Promise<void> => {
    const bytes = buffer.subarray(0, filled * width);
    hash.update(bytes);
    await handle.writeFile(bytes);
    filled = 0;
  };
  const append = async (ids: readonly number[]): Promise<void> => {
    for (const id of ids) {
      if (width === 2) buffer.writeUInt16LE(id, 2 * filled);
      else buffer.writeUInt32LE(id, 4 * filled);
      if (++filled === bufferTokens) await flush();
    }
    tokens += ids.length;
    lastToken = ids.at(-1) ?? lastToken;
  };
  try {
    const encoder = new StreamEncoder(tokenizer);
    for await (const part of readDocuments(source)) {
      if (documents === 1 && tokenizer.eos === undefined) {
        throw new WindlassError(
          'WL_TOKENIZER_INVALID',
          'the tokenizer names no end-of-text token to set between documents; give eos_token in tokenizer_config.json',
        );
      }
      await append(encoder.push(part.text));
      if (part.last) {
        await append(encoder.end());
        if (tokenizer.eos !== undefined && lastToken !== tokenizer.eos) await append([tokenizer.eos]);
        documents++;
      }
      onProgress?.(part.bytesRead / sourceBytes);
    }
    await flush();
    await handle.sync();
  } finally {
    await handle.close();
  }
  if (tokens === 0) throw new WindlassError('WL_DATA_EMPTY', `data.uri ${source.uri}: no document has any text`);
  return { format: cacheFormat, tokenizer: tokenizer.digest, tokens, width, documents, sourceBytes, sha256: hash.digest('hex') };
}
