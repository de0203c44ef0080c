// Reads a checkpoint for any layout: whole chunks, which are checked before the parts that are wanted go to their targets.
import { basename, join } from 'node:path';
import { crc32 } from 'node:zlib';
import { toWindlassError, WindlassError } from '#runtime/api/errors.ts';
import { elementsOf } from './box.ts';
import type { Disk, DiskFile } from './disk.ts';
import { isMissing, stepOf } from './folders.ts';
import { corrupt, Manifest, unseal } from './manifest.ts';
import type { Chunk } from './manifest.ts';
import { ChunkIndex, planReads } from './read-plan.ts';
import type { PlannedRead, Wanted } from './read-plan.ts';
import { readText } from './read-text.ts';

/** Reads that are under way while a chunk is checked and copied. */
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

  /**
   * Carries out the reads in their order. Throws WL_CHECKPOINT_CORRUPT, naming the file, when bytes are not those that were saved: a single
   * flipped bit is found before its chunk goes anywhere.
   */
  async read(reads: readonly PlannedRead[]): Promise<void> {
    const files = new Map<string, Promise<DiskFile>>();
    const fileOf = (name: string) => {
      const known = files.get(name);
      if (known) return known;
      const opening = this.#openFile(name);
      files.set(name, opening);
      return opening;
    };
    try {
      await this.#readAhead(reads, fileOf);
    } finally {
      for (const file of await Promise.allSettled(files.values())) if (file.status === 'fulfilled') await file.value.close();
    }
  }

  async #readAhead(reads: readonly PlannedRead[], fileOf: (name: string) => Promise<DiskFile>): Promise<void> {
    const spare: ArrayBuffer[] = [];
    const start = async ({ chunk }: PlannedRead): Promise<Float32Array> => {
      const elements = elementsOf(chunk.sizes);
      if (chunk.end - chunk.begin !== elements * 4) throw this.#damaged(chunk);
      const file = await fileOf(chunk.file);
      const values = new Float32Array(takeBuffer(spare, elements * 4), 0, elements);
      const filled = await file.read(bytesOf(values), chunk.begin);
      if (filled < elements * 4) throw this.#damaged(chunk);
      return values;
    };
    const ahead: Promise<Float32Array>[] = [];
    try {
      let started = 0;
      for (const { chunk, uses } of reads) {
        for (; started < reads.length && ahead.length < readsAhead; started += 1) {
          const reading = start(reads[started]!);
          // Whoever takes the reading sees a failure; that it is not its turn yet must not end the process.
          reading.catch(() => {});
          ahead.push(reading);
        }
        const values = await ahead.shift()!;
        if (crc32(bytesOf(values)) !== chunk.crc32) throw this.#damaged(chunk);
        for (const { target, part } of uses) target.put(part, chunk, values);
        spare.push(values.buffer as ArrayBuffer);
      }
    } finally {
      await Promise.allSettled(ahead);
    }
  }

  /** Opens a chunk file and checks its length and header. */
  async #openFile(name: string): Promise<DiskFile> {
    const path = join(this.path, name);
    const file = await this.#disk.open(path).catch((error: unknown) => {
      throw isMissing(error) ? corrupt(path, 'is missing, the manifest lists it', error) : toWindlassError(error);
    });
    try {
      const facts = this.manifest.files[name];
      const size = await file.size();
      if (size !== facts?.bytes) throw damaged(path, `${size} bytes instead of ${facts?.bytes}`);
      const header = new Uint8Array(facts.headerBytes);
      const filled = await file.read(header, 0);
      if (filled < header.length || crc32(header) !== facts.headerCrc32) throw damaged(path, 'the header');
      return file;
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  #damaged({ file, begin, end }: Chunk): WindlassError {
    return damaged(join(this.path, file), `bytes ${begin} to ${end}`);
  }
}

function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

/** Memory of a chunk that has gone where it was wanted, or new memory where none is large enough. */
function takeBuffer(spare: ArrayBuffer[], bytes: number): ArrayBuffer {
  const at = spare.findIndex(({ byteLength }) => byteLength >= bytes);
  return at < 0 ? new ArrayBuffer(bytes) : spare.splice(at, 1)[0]!;
}

function damaged(path: string, what: string): WindlassError {
  return corrupt(path, `is damaged: ${what} differ from what was saved`);
}
