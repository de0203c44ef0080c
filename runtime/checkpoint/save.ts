// Saves a checkpoint of all ranks: a folder that appears whole or not at all.
import { createHash, randomUUID } from 'node:crypto';
import { basename, dirname, join } from 'node:path';
import { toWindlassError, WindlassError } from '#runtime/api/errors.ts';
import { ChunkWriter } from './chunk-writer.ts';
import { localDisk } from './disk.ts';
import type { Disk } from './disk.ts';
import { alone } from './exchange.ts';
import type { Exchange } from './exchange.ts';
import { folderOf, isMissing, pruneCheckpoints, putInPlace } from './folders.ts';
import { corrupt, Part, seal, unseal } from './manifest.ts';
import type { Manifest, TrainingState } from './manifest.ts';
import { mergeParts } from './merge.ts';
import { padded } from './names.ts';
import { readText } from './read-text.ts';
import { planSave } from './save-plan.ts';
import type { PlannedChunk } from './save-plan.ts';
import { tensorName } from './shard.ts';
import type { Shard } from './shard.ts';
import { Staging } from './staging.ts';
import type { StagedChunk } from './staging.ts';
import { together } from './together.ts';

export interface CheckpointContents {
  readonly configDigest: string;
  /** Equal on all ranks. */
  readonly state: TrainingState;
  /** What this rank holds. */
  readonly shards: readonly Shard[];
}

export interface SaveOptions {
  readonly exchange?: Exchange;
  readonly disk?: Disk;
  /** Once the checkpoint is there, all but this many of the newest go. */
  readonly keep?: number;
  /** Where copies are kept until they are written; without it there is room for all. */
  readonly staging?: Staging;
  /** Called when the state is copied or its copy enqueued: from then on training may change it. Called before this function first waits, if all fits into the staging. */
  readonly onCopied?: () => void;
}

/**
 * Saves a checkpoint as `root/step-<step>`, called by all ranks alike. A reader sees the old state or the new one: each rank writes its
 * chunks to a temporary folder and makes them durable; rank 0 writes the manifest last and renames the folder. Throws on all ranks what the
 * first that failed met with: WL_DISK_FULL with the bytes needed, WL_LOSS_NOT_FINITE for values that nothing could be resumed from; what
 * was there before stays.
 */
export async function saveCheckpoint(root: string, contents: CheckpointContents, options: SaveOptions = {}): Promise<string> {
  const { exchange = alone, disk = localDisk, keep, staging = new Staging(Infinity), onCopied = () => {} } = options;
  const { state, shards } = contents;
  const chunks = planSave(shards);
  const waves = staging.waves(chunks, onCopied);
  const first = waves.next();
  const path = join(root, folderOf(state.step));
  const greetings = await exchange.allGather(JSON.stringify({ step: state.step, id: randomUUID() }));
  const temporary = join(root, `.saving-${basename(path)}-${agreedId(greetings, state.step)}`);
  try {
    const digests = await together(exchange, async () => {
      try {
        await disk.makeFolder(temporary);
        await checkSpace(disk, root, chunks);
        const text = seal(await writePart(disk, temporary, contents, exchange, chunks, first, waves));
        await writeText(disk, join(temporary, partName(exchange.rank)), text);
        await disk.syncFolder(temporary);
        return sha256(text);
      } catch (error) {
        throw await explain(error, disk, root, state.step, chunks);
      }
    });
    await together(exchange, async () => {
      if (exchange.rank !== 0) return '';
      await commit(disk, temporary, path, contents.configDigest, digests);
      if (keep !== undefined) await pruneCheckpoints(root, keep, disk);
      return '';
    });
    return path;
  } catch (error) {
    if (exchange.rank === 0) await disk.remove(temporary).catch(() => {});
    throw error;
  }
}

function agreedId(greetings: readonly string[], step: number): string {
  const read = greetings.map((text) => JSON.parse(text) as { step: number; id: string });
  const other = read.findIndex((greeting) => greeting.step !== step);
  if (other >= 0) throw new WindlassError('WL_INTERNAL', `rank ${other} saves step ${read[other]?.step}, this one step ${step}`);
  return read[0]?.id ?? '';
}

async function writePart(
  disk: Disk,
  folder: string,
  { state, shards }: CheckpointContents,
  { rank, size }: Exchange,
  chunks: readonly PlannedChunk[],
  first: IteratorResult<readonly StagedChunk[], void>,
  waves: Generator<readonly StagedChunk[], void>,
): Promise<Part> {
  const writer = new ChunkWriter(disk, folder, rank, chunks);
  try {
    for (let wave = first; !wave.done; wave = waves.next()) {
      for (const { chunk, values } of wave.value) await writer.write(chunk, await values);
      await writer.written();
    }
    await writer.finish();
  } finally {
    await writer.abandon();
  }
  const tensors: Part['tensors'] = {};
  for (const shard of shards) {
    const name = tensorName(shard);
    tensors[name] = { shape: [...shard.shape], dtype: 'F32', chunks: writer.tensors[name] ?? [] };
  }
  return { rank, layout: { worldSize: size }, state, tensors, files: writer.files };
}

/** `digests`: of each rank's part, as the rank itself wrote it. */
async function commit(
  disk: Disk,
  temporary: string,
  path: string,
  configDigest: string,
  digests: readonly string[],
): Promise<void> {
  const parts: Part[] = [];
  for (const [rank, digest] of digests.entries()) {
    const file = join(temporary, partName(rank));
    const text = await readText(disk, file).catch((error: unknown) => {
      throw isMissing(error) ? corrupt(file, 'is missing', error) : error;
    });
    const part = unseal(Part, text, file);
    if (sha256(text) !== digest) throw corrupt(file, `is not what rank ${rank} wrote`);
    parts.push(part);
  }
  const manifest: Manifest = mergeParts(parts, configDigest, (rank) => join(temporary, partName(rank)));
  await writeText(disk, join(temporary, 'manifest.json'), seal(manifest));
  for (const { rank } of parts) await disk.remove(join(temporary, partName(rank)));
  await disk.syncFolder(temporary);
  await putInPlace(disk, temporary, path);
  await disk.syncFolder(dirname(dirname(path)));
}

function partName(rank: number): string {
  return `part-${padded(rank)}.json`;
}

async function checkSpace(disk: Disk, root: string, chunks: readonly PlannedChunk[]): Promise<void> {
  if ((await disk.freeBytes(root)) < bytesOf(chunks)) throw Object.assign(new Error('not enough free space'), { code: 'ENOSPC' });
}

async function explain(
  error: unknown,
  disk: Disk,
  root: string,
  step: number,
  chunks: readonly PlannedChunk[],
): Promise<WindlassError> {
  const fault = toWindlassError(error);
  if (fault.code !== 'WL_DISK_FULL') return fault;
  const [needed, free] = [bytesOf(chunks), await disk.freeBytes(root)];
  const message = `no room for the checkpoint of step ${step} in ${root}: ${needed} bytes needed, ${free} free`;
  return new WindlassError('WL_DISK_FULL', message, { cause: error, details: { needed, free } });
}

function bytesOf(chunks: readonly PlannedChunk[]): number {
  return chunks.reduce((sum, { begin, end }) => sum + (end - begin) * 4, 1 << 16);
}

async function writeText(disk: Disk, path: string, text: string): Promise<void> {
  const file = await disk.create(path);
  try {
    await file.write(new TextEncoder().encode(text), 0);
    await file.sync();
  } finally {
    await file.close();
  }
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
