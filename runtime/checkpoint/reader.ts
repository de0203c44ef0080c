// Reads a checkpoint for any layout: whole chunks that are checked, of which the parts that are wanted are kept.
import { basename, join } from 'node:path';
import { crc32 } from 'node:zlib';
import { toWindlassError, WindlassError } from '#runtime/api/errors.ts';
import { elementsOf } from './box.ts';
import type { Disk, DiskFile } from './disk.ts';
import { isMissing, stepOf } from './folders.ts';
import { corrupt, Manifest, unseal } from './manifest.ts';
import type { Chunk } from './manifest.ts';
import { ChunkIndex, copyOut, planReads, straightTarget } from './read-plan.ts';
import type { PlannedRead, Wanted } from './read-plan.ts';
import { readText } from './read-text.ts';

/** Reads that are under way while one is checked. */
const readsAhead = 4;

export class CheckpointReader {
  readonly path: string;
  readonly manifest: Manifest;
  readonly #disk: Disk;
  readonly #indexes = new Map<string, ChunkIndex>();

  private constructor(disk: Disk, path: string, manifest: Manifest) {
    this.#disk = disk;
    this.path = path;
    this.manifest = manifest;
  }

  /** Throws WL_CHECKPOINT_CORRUPT if the manifest is missing, damaged or of another step. */
  static async open(disk: Disk, path: string): Promise<CheckpointReader> {
    const file = join(path, 'manifest.json');
    const text = await readText(disk, file).catch((error: unknown) => {
      throw isMissing(error) ? corrupt(file, 'is missing', error) : toWindlassError(error);
    });
    const manifest = unseal(Manifest, text, file);
    const step = stepOf(path);
    if (step !== undefined && step !== manifest.state.step) {
      throw corrupt(file, `is of step ${manifest.state.step}, its folder is ${basename(path)}`);
    }
    return new CheckpointReader(disk, path, manifest);
  }

  /** The reads for parts of a tensor. Throws WL_CHECKPOINT_CORRUPT if the chunks don't cover them. */
  plan(tensor: string, wanted: readonly Wanted[]): PlannedRead[] {
    const stored = this.manifest.tensors[tensor];
    let index = this.#indexes.get(tensor);
    if (!index) this.#indexes.set(tensor, (index = new ChunkIndex(stored?.chunks ?? [])));
    const { reads, missing } = planReads(index, wanted);
    if (missing === 0) return reads;
    const message = `${this.path} lacks ${missing} of the elements of ${tensor} that are needed`;
    throw new WindlassError('WL_CHECKPOINT_CORRUPT', message, { details: { file: this.path } });
  }

  /** Every stored chunk, wanted by nobody. */
  planAll(): PlannedRead[] {
    return Object.values(this.manifest.tensors).flatMap(({ chunks }) => chunks.map((chunk) => ({ chunk, uses: [] })));
  }

  /** Carries out the reads. Throws WL_CHECKPOINT_CORRUPT, naming the file, when bytes are not those that were saved; a single flipped bit is found. */
  async read(reads: readonly PlannedRead[]): Promise<void> {
    for (const [file, ofFile] of Map.groupBy(reads, ({ chunk }) => chunk.file)) {
      const sorted = ofFile.toSorted((a, b) => a.chunk.begin - b.chunk.begin);
      await this.#withFile(file, (handle) => this.#readFile(handle, file, sorted));
    }
  }

  /** Checks length and header of a chunk file. */
  async checkHeader(file: string): Promise<void> {
    await this.#withFile(file, async (handle) => {
      const expected = this.manifest.files[file];
      const size = await handle.size();
      if (!expected) throw corrupt(join(this.path, file), 'is not listed in the manifest');
      if (size !== expected.bytes) throw damaged(this.path, file, `${size} bytes instead of ${expected.bytes}`);
      const header = new Uint8Array(expected.headerBytes);
      const filled = await handle.read(header, 0);
      if (filled < header.length || crc32(header) !== expected.headerCrc32) throw damaged(this.path, file, 'the header');
    });
  }

  async #withFile(file: string, work: (handle: DiskFile) => Promise<void>): Promise<void> {
    const path = join(this.path, file);
    const handle = await this.#disk.open(path).catch((error: unknown) => {
      throw isMissing(error) ? corrupt(path, 'is missing, the manifest lists it', error) : toWindlassError(error);
    });
    try {
      await work(handle);
    } finally {
      await handle.close();
    }
  }

  async #readFile(handle: DiskFile, file: string, reads: readonly PlannedRead[]): Promise<void> {
    const size = await handle.size();
    const scratch: Float32Array[] = [];
    const start = async (read: PlannedRead): Promise<Reading> => {
      const { chunk } = read;
      const elements = elementsOf(chunk.sizes);
      if (chunk.end - chunk.begin !== elements * 4 || chunk.end > size) throw damaged(this.path, file, placeOf(chunk));
      const straight = straightTarget(read);
      const values = straight ?? takeScratch(scratch, elements);
      const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
      const filled = await handle.read(bytes, chunk.begin);
      return { read, values, bytes, isWhole: filled === bytes.length, isStraight: straight !== undefined };
    };
    const ahead: Promise<Reading>[] = [];
    try {
      for (let next = 0; next < reads.length || ahead.length > 0;) {
        for (; next < reads.length && ahead.length <= readsAhead; next += 1) {
          const reading = start(reads[next]!);
          // Whoever takes the reading sees a failure; that it is not its turn yet must not end the process.
          reading.catch(() => {});
          ahead.push(reading);
        }
        const { read, values, bytes, isWhole, isStraight } = await ahead.shift()!;
        if (!isWhole || crc32(bytes) !== read.chunk.crc32) throw damaged(this.path, file, placeOf(read.chunk));
        if (isStraight) continue;
        copyOut(read, values);
        scratch.push(values);
      }
    } finally {
      await Promise.allSettled(ahead);
    }
  }
}

interface Reading {
  readonly read: PlannedRead;
  readonly values: Float32Array;
  readonly bytes: Uint8Array;
  readonly isWhole: boolean;
  readonly isStraight: boolean;
}

/** Memory for a chunk that is not wanted as it is stored; that of an earlier one where it is large enough. */
function takeScratch(scratch: Float32Array[], elements: number): Float32Array {
  const at = scratch.findIndex(({ buffer }) => buffer.byteLength >= elements * 4);
  const [found] = at < 0 ? [] : scratch.splice(at, 1);
  return found ? new Float32Array(found.buffer, 0, elements) : new Float32Array(elements);
}

function placeOf({ begin, end }: Chunk): string {
  return `bytes ${begin} to ${end}`;
}

function damaged(folder: string, file: string, what: string): WindlassError {
  return corrupt(join(folder, file), `is damaged: ${what} differ from what was saved`);
}
