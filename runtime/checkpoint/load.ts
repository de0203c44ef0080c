// Loads the newest checkpoint that is whole into ranks of any layout. All ranks take the same one, or none does.
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { toWindlassError, WindlassError } from '#runtime/api/errors.ts';
import { localDisk } from './disk.ts';
import type { Disk } from './disk.ts';
import { alone } from './exchange.ts';
import type { Exchange } from './exchange.ts';
import { folderOf, listCheckpoints, pruneCheckpoints, removeLeftovers, setAside } from './folders.ts';
import type { Manifest, TrainingState } from './manifest.ts';
import type { PlannedRead } from './read-plan.ts';
import { CheckpointReader } from './reader.ts';
import { tensorName } from './shard.ts';
import type { Shard } from './shard.ts';
import { Target } from './target.ts';
import { together } from './together.ts';

export interface LoadOptions {
  readonly exchange?: Exchange;
  readonly disk?: Disk;
  /** Once one is loaded, all but this many of the newest go. */
  readonly keep?: number;
  /** Told how much of what this rank needs is read, 0 to 1, chunk by chunk. */
  readonly onRead?: (share: number) => void;
  /** Told of each damaged checkpoint, which file it is, and where the folder was put. */
  readonly onDamaged: (error: WindlassError) => void;
}

/**
 * Puts the newest good checkpoint below `root` into the memory of `shards`, called by all ranks alike. Damaged ones are set aside as
 * `damaged-step-...`; leftovers of saves and removals that were cut off go. Undefined if there is none; if that is because all are damaged,
 * all memory is zero. Throws WL_CHECKPOINT_MISMATCH for another job's, and WL_IO when the disk can't be read: that is no reason to begin
 * anew.
 */
export async function loadNewest(
  root: string,
  configDigest: string,
  shards: readonly Shard[],
  { exchange = alone, disk = localDisk, keep, onRead, onDamaged }: LoadOptions,
): Promise<TrainingState | undefined> {
  const paths = await agreeOnFolders(root, exchange, disk);
  for (const path of paths) {
    try {
      const state = await loadInto(shards, path, configDigest, { exchange, disk, onRead });
      await together(exchange, async () => {
        if (exchange.rank === 0 && keep !== undefined) await pruneCheckpoints(root, keep, disk);
        return '';
      });
      return state;
    } catch (error) {
      const fault = toWindlassError(error);
      if (fault.code !== 'WL_CHECKPOINT_CORRUPT') throw fault;
      const [aside] = await together(exchange, async () => (exchange.rank === 0 ? await setAside(disk, path) : ''));
      onDamaged(
        new WindlassError(fault.code, `${fault.message}; set aside as ${aside}`, { cause: fault, details: fault.details }),
      );
    }
  }
  if (paths.length > 0) clear(shards);
  return undefined;
}

async function agreeOnFolders(root: string, exchange: Exchange, disk: Disk): Promise<string[]> {
  const [steps = '[]'] = await together(exchange, async () => {
    if (exchange.rank !== 0) return '';
    await removeLeftovers(disk, root);
    return JSON.stringify((await listCheckpoints(root, disk)).map(({ step }) => step));
  });
  return (JSON.parse(steps) as number[]).map((step) => join(root, folderOf(step)));
}

/** A chunk goes to memory as soon as it is known to be good; that of other ranks may not be, so what is there counts only once all agree. */
async function loadInto(
  shards: readonly Shard[],
  path: string,
  configDigest: string,
  { exchange, disk, onRead }: { exchange: Exchange; disk: Disk; onRead: LoadOptions['onRead'] | undefined },
): Promise<TrainingState> {
  let manifest: Manifest | undefined;
  const digests = await together(exchange, async () => {
    const reader = await CheckpointReader.open(disk, path);
    checkFit(reader, configDigest, shards);
    const reads = shards.flatMap((shard) => planShard(reader, shard));
    await reader.read(reads, (count) => onRead?.(count / reads.length));
    manifest = reader.manifest;
    return createHash('sha256').update(JSON.stringify(manifest)).digest('hex');
  });
  const other = digests.findIndex((digest) => digest !== digests[0]);
  if (other >= 0 || !manifest) {
    throw new WindlassError('WL_IO', `rank ${other} finds another manifest in ${path} than rank 0`);
  }
  return manifest.state;
}

/** The reads of a shard, in the order of the files, so that those of the layout that saved it run along them. */
function planShard(reader: CheckpointReader, shard: Shard): PlannedRead[] {
  const wanted = shard.ranges.map(({ box, begin, end, tensor }) => ({
    box,
    begin,
    end,
    target: new Target(tensor, end - begin),
  }));
  return reader
    .plan(tensorName(shard), wanted)
    .sort(({ chunk: a }, { chunk: b }) => (a.file === b.file ? a.begin - b.begin : a.file < b.file ? -1 : 1));
}

function clear(shards: readonly Shard[]): void {
  for (const { tensor } of shards.flatMap(({ ranges }) => ranges)) {
    const zeros = new Float32Array(Math.min(tensor.size, 1 << 20));
    for (let at = 0; at < tensor.size; at += zeros.length) tensor.write(zeros.subarray(0, tensor.size - at), at);
  }
}

function checkFit({ path, manifest }: CheckpointReader, configDigest: string, shards: readonly Shard[]): void {
  if (manifest.configDigest !== configDigest) {
    throw new WindlassError(
      'WL_CHECKPOINT_MISMATCH',
      `${path} was saved with another model, data, tokenizer or task than this job has`,
      { details: { path } },
    );
  }
  for (const shard of shards) {
    const stored = manifest.tensors[tensorName(shard)];
    if (stored?.shape.join() === shard.shape.join()) continue;
    const found = stored ? `has shape [${stored.shape.join(', ')}]` : 'is missing';
    throw new WindlassError(
      'WL_CHECKPOINT_MISMATCH',
      `${tensorName(shard)} ${found} in ${path}; the model needs [${shard.shape.join(', ')}]`,
      { details: { path } },
    );
  }
}
