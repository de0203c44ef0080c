// The folder of packed weights that the processes of a node share: one file for each model, and room for as many as fit.
import { createHash } from 'node:crypto';
import { mkdir, readdir, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { WindlassError, toWindlassError } from '#runtime/api/errors.ts';
import { packing } from '#runtime/tensor/main.ts';
import type { Device } from '#runtime/tensor/main.ts';
import { dropPlainWeights, packModel } from '../model.ts';
import type { Model } from '../model.ts';
import { servedModelFrom } from '../served-model.ts';
import type { WeightSource } from '../weight-source.ts';
import { PackedDamage, fileIdentity, isUnfinished, openPacked, writePacked } from './file.ts';
import type { PackedContent } from './file.ts';
import { packedFileBytes, packedLayout } from './layout.ts';

/** Raised when the layout of the files changes. */
const formatVersion = 1;
const fileEnd = '.packed';
/** Nobody writes for so long at one file. */
const unfinishedMs = 3_600_000;

export interface PackedCacheOptions {
  readonly folder: string;
  /** What the weights are: the digest of the model, or the identity of its files (`identityOf`). */
  readonly identity: string;
  /** Room for all files together; none is removed for room if absent. */
  readonly maxBytes?: number | undefined;
  /** Told why weights stay in memory of this process alone, or why a file was not used. */
  readonly onTrouble: (error: WindlassError) => void;
  /** Told where the weights are that this process shares, and whether it has packed them. */
  readonly onShared?: (shared: { readonly path: string; readonly bytes: number; readonly isNew: boolean }) => void;
}

/**
 * A packed model that serves, over memory shared with all processes that use the folder. Where that is not possible it says so and the weights
 * are this process's own. Throws as `servedModelFrom`.
 */
export async function sharedModelFrom(source: WeightSource, device: Device, options: PackedCacheOptions): Promise<Model> {
  const content = packedContent(source, options.identity);
  const path = join(options.folder, `${content.key}${fileEnd}`);
  const bytes = packedFileBytes(content.layout);
  const found = await openKept(path, content, device, options);
  if (found) {
    options.onShared?.({ path, bytes, isNew: false });
    return found;
  }
  const model = await servedModelFrom(source, device);
  try {
    packModel(model);
    dropPlainWeights(model);
    await keep(path, content, model, options);
  } catch (error) {
    options.onTrouble(asTrouble(error, options.folder));
    return model;
  }
  const shared = await openKept(path, content, device, options);
  if (!shared) return model;
  model.dispose();
  await device.trim();
  options.onShared?.({ path, bytes, isNew: true });
  return shared;
}

/** Of a model without a digest: all its files as the system knows them. */
export async function identityOf(path: string): Promise<string> {
  const found = await stat(path);
  if (!found.isDirectory()) return await fileIdentity(path);
  const names = (await readdir(path, { withFileTypes: true })).filter((entry) => entry.isFile() || entry.isSymbolicLink());
  const lines = await Promise.all(names.map(async ({ name }) => `${name} ${await fileIdentity(join(path, name))}`));
  return lines.sort().join('\n');
}

export function packedContent(source: Pick<WeightSource, 'config' | 'typeOf'>, identity: string): PackedContent {
  const { config } = source;
  const layout = packedLayout(source);
  const key = createHash('sha256')
    .update(JSON.stringify([formatVersion, packing, identity, config, layout]))
    .digest('hex');
  return { key, config, layout };
}

/** A file that is not what it should be is removed: the next process packs anew. */
async function openKept(
  path: string,
  content: PackedContent,
  device: Device,
  options: PackedCacheOptions,
): Promise<Model | undefined> {
  try {
    const model = await openPacked(path, content, device);
    // The time of a file says when it was used last.
    if (model) await utimes(path, new Date(), new Date()).catch(() => {});
    return model;
  } catch (error) {
    if (error instanceof PackedDamage) {
      await rm(path, { force: true }).catch(() => {});
      options.onTrouble(
        new WindlassError('WL_MODEL_CORRUPT', `${path}: ${error.message}; it is packed anew`, { details: { path } }),
      );
    } else options.onTrouble(asTrouble(error, path));
    return undefined;
  }
}

async function keep(path: string, content: PackedContent, model: Model, options: PackedCacheOptions): Promise<void> {
  await mkdir(options.folder, { recursive: true });
  await makeRoom(options, packedFileBytes(content.layout));
  await writePacked(path, content, model);
}

/** Removes what was begun and never finished, and for room the files that were used longest ago: who has one mapped keeps it. */
async function makeRoom({ folder, maxBytes }: PackedCacheOptions, bytes: number): Promise<void> {
  const files: { readonly path: string; readonly bytes: number; readonly usedAt: number }[] = [];
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    const found = await stat(path).catch(() => undefined);
    if (!found) continue;
    if (isUnfinished(name)) {
      if (Date.now() - found.mtimeMs > unfinishedMs) await rm(path, { force: true });
    } else if (name.endsWith(fileEnd)) files.push({ path, bytes: found.size, usedAt: found.mtimeMs });
  }
  if (maxBytes === undefined) return;
  let held = files.reduce((sum, file) => sum + file.bytes, 0);
  for (const file of files.toSorted((a, b) => a.usedAt - b.usedAt)) {
    if (held + bytes <= maxBytes) break;
    await rm(file.path, { force: true });
    held -= file.bytes;
  }
  if (held + bytes <= maxBytes) return;
  throw new WindlassError('WL_DISK_FULL', `${folder} may hold ${maxBytes} bytes of packed weights, and these have ${bytes}`, {
    details: { path: folder },
  });
}

function asTrouble(error: unknown, path: string): WindlassError {
  const { code, message } = toWindlassError(error);
  return new WindlassError(code, `packed weights are not shared through ${path}: ${message}`, { cause: error });
}
