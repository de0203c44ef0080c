// Loads the newest checkpoint that is whole into ranks of any layout. All ranks take the same one, or none does.
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { toWindlassError, WindlassError } from '#runtime/api/errors.ts';
import { localDisk } from './disk.ts';
import type { Disk } from './disk.ts';
import { alone } from './exchange.ts';
import type { Exchange } from './exchange.ts';
import { folderOf, listCheckpoints, removeLeftovers, setAside } from './folders.ts';
import type { Manifest, TrainingState } from './manifest.ts';
import type { PlannedRead } from './read-plan.ts';
import { CheckpointReader } from './reader.ts';
import { tensorName } from './shard.ts';
import type { Shard, ShardRange } from './shard.ts';
import { together } from './together.ts';

export interface LoadOptions {
  readonly exchange?: Exchange;
  readonly disk?: Disk;
  /** Memory for values that are read but not yet known to be good on all ranks; without it there is room for all. */
  readonly stagingBytes?: number;
  /** Told of each damaged checkpoint, which file it is, and where the folder was put. */
  readonly onDamaged: (error: WindlassError) => void;
}

/**
 * Puts the newest good checkpoint below `root` into the memory of `shards`, called by all ranks alike. Damaged ones are set aside as
 * `damaged-step-...`; leftovers of saves and removals that were cut off go. Undefined, with all memory as it was, if there is none. Throws
 * WL_CHECKPOINT_MISMATCH for another job's, and WL_IO when the disk can't be read: that is no reason to begin anew.
 */
export async function loadNewest(
  root: string,
  configDigest: string,
  shards: readonly Shard[],
  options: LoadOptions,
): Promise<TrainingState | undefined> {
  const { exchange = alone, disk = localDisk, stagingBytes = Infinity, onDamaged } = options;
  for (const path of await agreeOnFolders(root, exchange, disk)) {
    try {
      return await loadInto(shards, path, configDigest, { exchange, disk, stagingBytes });
    } catch (error) {
      const fault = toWindlassError(error);
      if (fault.code !== 'WL_CHECKPOINT_CORRUPT') throw fault;
      const [aside] = await together(exchange, async () => (exchange.rank === 0 ? await setAside(disk, path) : ''));
      onDamaged(
        new WindlassError(fault.code, `${fault.message}; set aside as ${aside}`, { cause: fault, details: fault.details }),
      );
    }
  }
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

async function loadInto(
  shards: readonly Shard[],
  path: string,
  configDigest: string,
  { exchange, disk, stagingBytes }: Required<Omit<LoadOptions, 'onDamaged'>>,
): Promise<TrainingState> {
  const waves = cutIntoWaves(shards, stagingBytes / 4);
  const [wave, ...others] = waves;
  let reader: CheckpointReader | undefined;
  let values: Float32Array[] = [];
  const digests = await together(exchange, async () => {
    reader = await CheckpointReader.open(disk, path);
    checkFit(reader, configDigest, shards);
    for (const [index, file] of Object.keys(reader.manifest.files).toSorted().entries()) {
      if (index % exchange.size === exchange.rank) await reader.checkHeader(file);
    }
    if (wave && others.length === 0) values = await readWave(reader, wave);
    // What does not fit into memory at once is read twice: nothing is overwritten before all of it is known to be good.
    else await checkWaves(reader, waves);
    return digestOf(reader.manifest);
  });
  const other = digests.findIndex((digest) => digest !== digests[0]);
  if (other >= 0) throw new WindlassError('WL_IO', `rank ${other} finds another manifest in ${path} than rank 0`);
  if (!reader) throw new WindlassError('WL_INTERNAL', `${path} was not opened`);
  for (const each of waves) writeWave(each, others.length === 0 ? values : await readWave(reader, each));
  return reader.manifest.state;
}

/** Elements [begin, end) of the memory of a range. */
interface Piece {
  readonly tensor: string;
  readonly range: ShardRange;
  readonly begin: number;
  readonly end: number;
}

function cutIntoWaves(shards: readonly Shard[], elements: number): Piece[][] {
  const waves: Piece[][] = [];
  let free = 0;
  for (const shard of shards) {
    for (const range of shard.ranges) {
      for (let begin = 0; begin < range.end - range.begin;) {
        if (free === 0) {
          waves.push([]);
          free = elements;
        }
        const end = Math.min(range.end - range.begin, begin + free);
        waves.at(-1)?.push({ tensor: tensorName(shard), range, begin, end });
        free -= end - begin;
        begin = end;
      }
    }
  }
  return waves;
}

function planWave(reader: CheckpointReader, wave: readonly Piece[], values?: readonly Float32Array[]): PlannedRead[] {
  const nowhere = new Float32Array(0);
  const wanted = wave.map(({ tensor, range, begin, end }, index) => ({
    tensor,
    box: range.box,
    begin: range.begin + begin,
    end: range.begin + end,
    into: values?.[index] ?? nowhere,
  }));
  return [...Map.groupBy(wanted, ({ tensor }) => tensor)].flatMap(([tensor, ofTensor]) => reader.plan(tensor, ofTensor));
}

async function readWave(reader: CheckpointReader, wave: readonly Piece[]): Promise<Float32Array[]> {
  const values = wave.map(({ begin, end }) => new Float32Array(end - begin));
  await reader.read(planWave(reader, wave, values));
  return values;
}

/** Reads and checks what the waves need, and keeps nothing of it. */
async function checkWaves(reader: CheckpointReader, waves: readonly (readonly Piece[])[]): Promise<void> {
  const chunks = new Set(waves.flatMap((wave) => planWave(reader, wave).map(({ chunk }) => chunk)));
  await reader.read([...chunks].map((chunk) => ({ chunk, uses: [] })));
}

function writeWave(wave: readonly Piece[], values: readonly Float32Array[]): void {
  for (const [index, { range, begin }] of wave.entries()) range.tensor.write(values[index]!, begin);
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

function digestOf(manifest: Manifest): string {
  return createHash('sha256').update(JSON.stringify(manifest)).digest('hex');
}
