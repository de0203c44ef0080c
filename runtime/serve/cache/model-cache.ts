// Models on a node: each is fetched once, by whichever pod comes first, and is what its digest says or is not there.
import { createHash } from 'node:crypto';
import { mkdir, open, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { WindlassError } from '#runtime/api/errors.ts';
import { digestOfFiles, folderDigest, writeFolder } from '#runtime/model/main.ts';
import { leaseTimes, syncFolder, withLease } from '#runtime/remote/main.ts';
import type { FileDigest } from '#runtime/model/main.ts';
import type { LeaseTimes } from '#runtime/remote/main.ts';
import type { FetchedSource, ModelSource, ReadSource } from './source.ts';

/** How far a model is on its way to this node. */
export interface Fetching {
  /** `waiting`: another pod of the node fetches it. `verifying`: it is there, and is held against its digest. */
  readonly phase: 'waiting' | 'fetching' | 'verifying';
  readonly bytes: number;
  readonly totalBytes: number;
  /** Why the fetching is tried again. */
  readonly trouble?: string;
}

export interface ModelCacheOptions {
  /** Folder that the pods of a node share. */
  readonly folder: string;
  /** Room for all models and packed weights together; none is ever removed if absent. */
  readonly maxBytes?: number | undefined;
  readonly times?: LeaseTimes;
  readonly onProgress?: (fetching: Fetching) => void;
  /** Told when a model on the node was damaged, and is fetched again. */
  readonly onDamaged?: (folder: string) => void;
}

/** A model that was used in this time stays, whatever room is wanted: a pod may be loading it. */
const freshMs = 600_000;
/** Ends the name of a model that is being removed. */
const gone = '.gone';

/**
 * The folder of the model with this digest (sha256 in hexadecimal) on this node. Throws WL_MODEL_CORRUPT if the source has other bytes,
 * WL_DISK_FULL if there is no room.
 */
export async function cachedModel(source: ModelSource, digest: string, options: ModelCacheOptions): Promise<string> {
  const folder = join(options.folder, 'models', digest);
  const tell = (phase: Fetching['phase']) => options.onProgress?.({ phase, bytes: 0, totalBytes: 0 });
  const isWhole = async () => {
    tell('verifying');
    return (await folderDigest(folder)) === digest;
  };
  const isUsable = (await isThere(folder)) && (await isWhole().catch(() => false));
  if (!isUsable) {
    const lock = join(options.folder, 'locks', digest);
    const onWait = () => tell('waiting');
    await withLease(lock, options.times ?? leaseTimes, onWait, async () => {
      if (await isThere(folder)) {
        if (await isWhole()) return;
        options.onDamaged?.(folder);
        await remove(folder);
      }
      if ('fetch' in source) await fetchStaged(source, digest, folder, options);
      else await fetchModel(source, digest, folder, options);
    });
  }
  await markUsed(options, digest);
  return folder;
}

/** Lets the source put its files aside, where the next try goes on if this one is killed, and moves them when all are there. */
async function fetchStaged(source: FetchedSource, digest: string, folder: string, options: ModelCacheOptions): Promise<void> {
  const staging = stagingOf(options, digest);
  let known = { bytes: 0, totalBytes: 0 };
  const tell = (trouble?: string) =>
    options.onProgress?.({ phase: 'fetching', ...known, ...(trouble === undefined ? {} : { trouble }) });
  await source.fetch(staging, digest, {
    needs: (bytes) => makeRoom(options, bytes, digest),
    has: (bytes, totalBytes) => {
      known = { bytes, totalBytes };
      tell();
    },
    setBack: tell,
  });
  await mkdir(dirname(folder), { recursive: true });
  await rename(staging, folder);
  for (const name of await readdir(dirname(staging))) if (name.startsWith(digest)) await rm(join(dirname(staging), name));
  await syncFolder(dirname(folder));
}

const stagingOf = ({ folder }: ModelCacheOptions, digest: string): string => join(folder, 'staging', digest);

/** Fetches all files into a folder that is there only when it is whole. */
async function fetchModel(source: ReadSource, digest: string, folder: string, options: ModelCacheOptions): Promise<void> {
  const files = await source.files();
  const totalBytes = files.reduce((sum, file) => sum + file.bytes, 0);
  await makeRoom(options, totalBytes);
  await writeFolder(folder, async (temporary) => {
    let bytes = 0;
    const onBytes = (count: number) => options.onProgress?.({ phase: 'fetching', bytes: (bytes += count), totalBytes });
    const digests: FileDigest[] = [];
    for (const { name } of files) digests.push({ name, sha256: await fetchFile(source, name, join(temporary, name), onBytes) });
    const found = digestOfFiles(digests);
    if (found === digest) return;
    throw new WindlassError('WL_MODEL_CORRUPT', `${source.place} has digest ${found}; its ModelVersion says ${digest}`, {
      details: { path: source.place },
    });
  });
}

/** Writes a file as it comes; gives its sha256. */
async function fetchFile(source: ReadSource, name: string, path: string, onBytes: (count: number) => void): Promise<string> {
  await mkdir(dirname(path), { recursive: true });
  const hash = createHash('sha256');
  const file = await open(path, 'wx');
  try {
    for await (const chunk of source.open(name)) {
      hash.update(chunk);
      await file.writeFile(chunk);
      onBytes(chunk.byteLength);
    }
  } finally {
    await file.close();
  }
  return hash.digest('hex');
}

/**
 * Removes what was begun and is not fetched any more, and then the models that were not used for longest, until there is room for so many bytes,
 * of which some may be put aside under `digest` already.
 */
async function makeRoom(options: ModelCacheOptions, bytes: number, digest?: string): Promise<void> {
  const models = join(options.folder, 'models');
  const entries = await readdir(models).catch(() => []);
  // What a kill left of a model that was being removed.
  for (const name of entries.filter((entry) => entry.endsWith(gone)))
    await rm(join(models, name), { recursive: true, force: true });
  const { maxBytes } = options;
  if (maxBytes === undefined) return;
  const held = await Promise.all(
    entries.filter((name) => /^[0-9a-f]{64}$/.test(name)).map((digest) => heldModel(options, digest)),
  );
  let room = maxBytes - held.reduce((sum, model) => sum + model.bytes, 0);
  for (const name of await readdir(join(options.folder, 'staging')).catch(() => [])) {
    const other = name.slice(0, 64);
    if (other === digest) continue;
    const path = join(options.folder, 'staging', name);
    if (await isThere(join(options.folder, 'locks', other))) room -= await bytesAt(path);
    else await rm(path, { recursive: true, force: true });
  }
  // They are made anew from the models: they go first, from under nobody.
  for (const file of await packedFiles(options.folder)) {
    room -= file.bytes;
    if (room >= bytes) continue;
    await rm(file.path, { force: true });
    room += file.bytes;
  }
  for (const model of held.toSorted((a, b) => a.usedAt - b.usedAt)) {
    if (room >= bytes) return;
    if (Date.now() - model.usedAt < freshMs) break;
    await remove(join(models, model.digest));
    await rm(useOf(options, model.digest), { force: true });
    room += model.bytes;
  }
  if (room >= bytes) return;
  const message = `the model cache ${options.folder} may hold ${maxBytes} bytes; models in use leave ${Math.max(0, room)}, and this one has ${bytes}`;
  throw new WindlassError('WL_DISK_FULL', message, { details: { path: options.folder } });
}

/** Where packed weights lie beside the models, and the room that models leave for them. */
export async function packedRoom({ folder, maxBytes }: Pick<ModelCacheOptions, 'folder' | 'maxBytes'>): Promise<{
  readonly folder: string;
  readonly maxBytes: number | undefined;
}> {
  const packed = join(folder, 'packed');
  if (maxBytes === undefined) return { folder: packed, maxBytes };
  return { folder: packed, maxBytes: Math.max(0, maxBytes - (await bytesAt(join(folder, 'models')))) };
}

/** Those used last come first. */
async function packedFiles(
  folder: string,
): Promise<{ readonly path: string; readonly bytes: number; readonly usedAt: number }[]> {
  const names = await readdir(join(folder, 'packed')).catch(() => []);
  const files = names.map(async (name) => {
    const path = join(folder, 'packed', name);
    const found = await stat(path).catch(() => undefined);
    return { path, bytes: found?.size ?? 0, usedAt: found?.mtimeMs ?? 0 };
  });
  return (await Promise.all(files)).toSorted((a, b) => b.usedAt - a.usedAt);
}

const useOf = ({ folder }: ModelCacheOptions, digest: string): string => join(folder, 'used', digest);

/** The time of an empty file says when a model was used last. */
async function markUsed(options: ModelCacheOptions, digest: string): Promise<void> {
  const path = useOf(options, digest);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, '');
}

async function heldModel(options: ModelCacheOptions, digest: string): Promise<{ digest: string; bytes: number; usedAt: number }> {
  const bytes = await folderBytes(join(options.folder, 'models', digest));
  const use = await stat(useOf(options, digest)).catch(() => undefined);
  return { digest, bytes, usedAt: use?.mtimeMs ?? 0 };
}

async function bytesAt(path: string): Promise<number> {
  const entry = await stat(path).catch(() => undefined);
  return entry?.isDirectory() ? await folderBytes(path).catch(() => 0) : (entry?.size ?? 0);
}

async function folderBytes(folder: string): Promise<number> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true });
  const sizes = entries
    .filter((entry) => !entry.isDirectory())
    .map(async (entry) => (await stat(join(entry.parentPath, entry.name))).size);
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}

/** It is gone for everybody at once, whatever becomes of us meanwhile. */
async function remove(folder: string): Promise<void> {
  const aside = `${folder}${gone}`;
  await rm(aside, { recursive: true, force: true });
  await rename(folder, aside);
  await rm(aside, { recursive: true, force: true });
}

async function isThere(folder: string): Promise<boolean> {
  return await stat(folder).then(
    () => true,
    () => false,
  );
}
