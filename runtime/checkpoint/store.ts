// Saves and loads checkpoints: folders that appear whole or not at all, newest good one first.
import { randomUUID } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm, stat, statfs } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { toWindlassError, WindlassError } from '#runtime/api/errors.ts';
import { copyRuns, elementsOf, intersect, wholeBox } from './box.ts';
import type { Box } from './box.ts';
import { checkHeader, readChunk, writeChunkFile } from './chunk-file.ts';
import type { ChunkData } from './chunk-file.ts';
import { maxManifestBytes, openManifest, sealManifest } from './manifest.ts';
import type { Manifest, StoredTensor, TrainingState } from './manifest.ts';

/** A tensor larger than this is cut along its first dim, so that readers of a part need not read the whole. */
const maxChunkBytes = 64 << 20;
const maxFileBytes = 512 << 20;

export interface CheckpointContents {
  readonly configDigest: string;
  readonly state: TrainingState;
  /** Tensors by group (`weights`, `first`, `second`); a group gets files of its own. */
  readonly groups: Readonly<
    Record<string, readonly { readonly name: string; readonly shape: readonly number[]; readonly data: Float32Array }[]>
  >;
}

export interface CheckpointFolder {
  readonly step: number;
  readonly path: string;
}

const folderPattern = /^step-(\d{8,})$/;
/** Folders that are being written or removed; what a kill left of them is of no use. */
const passingPattern = /^\.(saving|removing)-/;

/**
 * Saves a checkpoint as `root/step-<step>`. A reader sees the old state or the new one: everything is written to a temporary folder and made
 * durable, the manifest last, then renamed. Throws WL_DISK_FULL with the bytes needed, and WL_LOSS_NOT_FINITE for values that nothing could
 * be resumed from; what was there before stays.
 */
export async function saveCheckpoint(root: string, contents: CheckpointContents): Promise<string> {
  const name = `step-${String(contents.state.step).padStart(8, '0')}`;
  const temporary = join(root, `.saving-${name}-${randomUUID()}`);
  try {
    await mkdir(temporary, { recursive: true });
    await checkSpace(root, contents);
    const manifest: Manifest = {
      format: 'windlass-checkpoint',
      version: 1,
      configDigest: contents.configDigest,
      layout: { worldSize: 1 },
      state: contents.state,
      tensors: {},
      files: {},
    };
    for (const [group, tensors] of Object.entries(contents.groups)) {
      for (const { name: tensor, shape } of tensors)
        manifest.tensors[`${group}/${tensor}`] = { shape: [...shape], dtype: 'F32', chunks: [] };
      for (const [index, chunks] of cutIntoFiles(group, tensors).entries()) {
        const file = `${group}-${String(index).padStart(5, '0')}.safetensors`;
        const { chunks: written, ...facts } = await writeChunkFile(temporary, file, chunks);
        manifest.files[file] = facts;
        for (const { tensor, chunk } of written) manifest.tensors[tensor]?.chunks.push(chunk);
      }
    }
    await writeDurably(join(temporary, 'manifest.json'), sealManifest(manifest));
    await syncFolder(temporary);
    const path = join(root, name);
    await remove(path);
    await rename(temporary, path);
    await syncFolder(root);
    await syncFolder(dirname(root));
    return path;
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    throw await explain(error, root, contents);
  }
}

function cutIntoFiles(
  group: string,
  tensors: readonly { name: string; shape: readonly number[]; data: Float32Array }[],
): ChunkData[][] {
  const files: ChunkData[][] = [];
  let bytesInFile = Infinity;
  for (const { name, shape, data } of tensors) {
    const [rows = 1] = shape;
    const rowElements = elementsOf(shape) / rows;
    const rowsPerChunk = Math.max(1, Math.floor(maxChunkBytes / 4 / rowElements));
    for (let row = 0; row < rows; row += rowsPerChunk) {
      const count = Math.min(rowsPerChunk, rows - row);
      const box = {
        offsets: shape.map((_, dim) => (dim === 0 ? row : 0)),
        sizes: shape.map((size, dim) => (dim === 0 ? count : size)),
      };
      const chunk = { tensor: `${group}/${name}`, box, data: data.subarray(row * rowElements, (row + count) * rowElements) };
      if (bytesInFile + chunk.data.byteLength > maxFileBytes) {
        files.push([]);
        bytesInFile = 0;
      }
      files.at(-1)?.push(chunk);
      bytesInFile += chunk.data.byteLength;
    }
  }
  return files;
}

/** The checkpoints below `root`, newest first. */
export async function listCheckpoints(root: string): Promise<CheckpointFolder[]> {
  const names = await namesIn(root);
  const found = names.flatMap((name) => {
    const step = folderPattern.exec(name)?.[1];
    return step ? [{ step: Number(step), path: join(root, name) }] : [];
  });
  return found.sort((a, b) => b.step - a.step);
}

/** Reads the manifest and every stored byte. Throws WL_CHECKPOINT_CORRUPT naming the file; a single flipped bit is found. */
export async function verifyCheckpoint(path: string): Promise<Manifest> {
  const manifestPath = join(path, 'manifest.json');
  const facts = await stat(manifestPath).catch(ifMissing(undefined));
  if (!facts || facts.size > maxManifestBytes) {
    throw new WindlassError('WL_CHECKPOINT_CORRUPT', `${manifestPath} is ${facts ? 'too large' : 'missing'}`, {
      details: { file: manifestPath },
    });
  }
  const manifest = openManifest(await readFile(manifestPath, 'utf8'), manifestPath);
  try {
    for (const [file, expected] of Object.entries(manifest.files)) await checkHeader(path, file, expected);
    for (const tensor of Object.values(manifest.tensors)) for (const chunk of tensor.chunks) await readChunk(path, chunk);
  } catch (error) {
    if (!isMissing(error)) throw error;
    throw new WindlassError(
      'WL_CHECKPOINT_CORRUPT',
      `${path} lacks a file that its manifest lists: ${(error as Error).message}`,
      { cause: error },
    );
  }
  return manifest;
}

/** Any part of a stored tensor, whatever boxes it was saved in. Throws WL_CHECKPOINT_CORRUPT if the chunks don't cover it. */
export async function readTensor(
  path: string,
  name: string,
  tensor: StoredTensor,
  wanted: Box = wholeBox(tensor.shape),
): Promise<Float32Array> {
  const values = new Float32Array(elementsOf(wanted.sizes));
  let covered = 0;
  for (const chunk of tensor.chunks) {
    const part = intersect(chunk, wanted);
    if (!part) continue;
    const stored = await readChunk(path, chunk);
    for (const { source, target, length } of copyRuns(part, chunk, wanted))
      values.set(stored.subarray(source, source + length), target);
    covered += elementsOf(part.sizes);
  }
  if (covered !== values.length) {
    throw new WindlassError('WL_CHECKPOINT_CORRUPT', `${path} holds ${covered} of ${values.length} elements of ${name}`, {
      details: { file: path },
    });
  }
  return values;
}

/**
 * The newest checkpoint that is whole. Damaged ones are set aside as `damaged-step-...` and told to `onDamaged`; leftovers of saves and
 * removals that were cut off go. Throws WL_IO when the disk can't be read: that is no reason to begin anew.
 */
export async function openNewest(
  root: string,
  onDamaged: (error: WindlassError) => void,
): Promise<{ path: string; manifest: Manifest } | undefined> {
  for (const name of await namesIn(root)) {
    if (passingPattern.test(name)) await rm(join(root, name), { recursive: true, force: true });
  }
  for (const { path } of await listCheckpoints(root)) {
    try {
      return { path, manifest: await verifyCheckpoint(path) };
    } catch (error) {
      const fault = toWindlassError(error);
      if (fault.code !== 'WL_CHECKPOINT_CORRUPT') throw fault;
      const aside = join(dirname(path), `damaged-${basename(path)}`);
      await rm(aside, { recursive: true, force: true });
      await rename(path, aside);
      onDamaged(
        new WindlassError(fault.code, `${fault.message}; set aside as ${aside}`, { cause: fault, details: fault.details }),
      );
    }
  }
  return undefined;
}

/** Removes all but the newest `keep` checkpoints. */
export async function pruneCheckpoints(root: string, keep: number): Promise<void> {
  for (const { path } of (await listCheckpoints(root)).slice(keep)) await remove(path);
}

/** Removes a folder at once for readers, whatever becomes of this process. */
async function remove(path: string): Promise<void> {
  const passing = join(dirname(path), `.removing-${basename(path)}-${randomUUID()}`);
  const isThere = await rename(path, passing).then(() => true, ifMissing(false));
  if (isThere) await rm(passing, { recursive: true, force: true });
}

async function namesIn(folder: string): Promise<string[]> {
  return await readdir(folder).catch(ifMissing([]));
}

/** What stands for a file that is not there; any other trouble with it is thrown. */
function ifMissing<T>(value: T): (error: unknown) => T {
  return (error) => {
    if (isMissing(error)) return value;
    throw toWindlassError(error);
  };
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

async function checkSpace(root: string, contents: CheckpointContents): Promise<void> {
  const { bavail, bsize } = await statfs(root);
  if (bavail * bsize < bytesOf(contents)) throw Object.assign(new Error('not enough free space'), { code: 'ENOSPC' });
}

async function explain(error: unknown, root: string, contents: CheckpointContents): Promise<WindlassError> {
  const fault = toWindlassError(error);
  if (fault.code !== 'WL_DISK_FULL') return fault;
  const { bavail, bsize } = await statfs(root);
  const [needed, free] = [bytesOf(contents), bavail * bsize];
  const message = `no room for the checkpoint of step ${contents.state.step} in ${root}: ${needed} bytes needed, ${free} free`;
  return new WindlassError('WL_DISK_FULL', message, { cause: error, details: { needed, free } });
}

function bytesOf(contents: CheckpointContents): number {
  const tensors = Object.values(contents.groups).flat();
  return tensors.reduce((sum, { data }) => sum + data.byteLength, 1 << 16);
}

async function writeDurably(path: string, text: string): Promise<void> {
  const handle = await open(path, 'w');
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
