// Reads a checkpoint for any layout: whole chunks, which are checked before the parts that are wanted go to their targets.
import { basename, join } from 'node:path';
import { toWindlassError, WindlassError } from '#runtime/api/errors.ts';
import { elementsOf } from './box.ts';
import { bytesOf } from './disk.ts';
import type { Disk, DiskFile } from './disk.ts';
import { isMissing, stepOf } from './folders.ts';
import { corrupt, Manifest, unseal } from './manifest.ts';
import type { Chunk } from './manifest.ts';
import { ChunkIndex, planReads } from './read-plan.ts';
import type { PlannedRead, Wanted } from './read-plan.ts';
import { readText } from './read-text.ts';

/** Chunks that are read at a time: enough that the disk never waits for this thread. */
const lanes = 4;

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
   * Carries out the reads, begun in their order. Throws WL_CHECKPOINT_CORRUPT, naming the file, when bytes are not those that were saved: a
   * single flipped bit is found. What lies where the values go counts only when this has resolved. `onRead` is told how many are done.
   */
  async read(reads: readonly PlannedRead[], onRead: (count: number) => void = () => {}): Promise<void> {
    const files = new Map<string, Promise<DiskFile>>();
    const fileOf = (name: string) => {
      const known = files.get(name);
      if (known) return known;
      const opening = this.#openFile(name);
      files.set(name, opening);
      return opening;
    };
    try {
      await this.#readAll(reads, fileOf, onRead);
    } finally {
      for (const file of await Promise.allSettled(files.values())) if (file.status === 'fulfilled') await file.value.close();
    }
  }

  async #readAll(
    reads: readonly PlannedRead[],
    fileOf: (name: string) => Promise<DiskFile>,
    onRead: (count: number) => void,
  ): Promise<void> {
    const left = reads.values();
    let isFailed = false;
    let done = 0;
    const work = async () => {
      const memory = new ChunkMemory();
      for (const read of left) {
        if (isFailed) return;
        await this.#readChunk(read, await fileOf(read.chunk.file), memory);
        onRead((done += 1));
      }
    };
    const ends = await Promise.allSettled(
      Array.from({ length: lanes }, () =>
        work().catch((error: unknown) => {
          isFailed = true;
          throw error;
        }),
      ),
    );
    for (const end of ends) if (end.status === 'rejected') throw end.reason;
  }

  async #readChunk({ chunk, uses }: PlannedRead, file: DiskFile, memory: ChunkMemory): Promise<void> {
    const elements = elementsOf(chunk.sizes);
    if (chunk.end - chunk.begin !== elements * 4) throw this.#damaged(chunk);
    const [only, ...others] = uses;
    const place = others.length === 0 ? only?.target.placeOf(only.part, chunk) : undefined;
    const reading = place && file.readInto?.(place, chunk.begin);
    if (reading) {
      if ((await reading) !== chunk.crc32) throw this.#damaged(chunk);
      return;
    }
    const values = memory.take(elements);
    if ((await file.read(bytesOf(values), chunk.begin)) !== chunk.crc32) throw this.#damaged(chunk);
    for (const { target, part } of uses) target.put(part, chunk, values);
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
      if ((await file.read(header, 0)) !== facts.headerCrc32) throw damaged(path, 'the header');
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

/** Memory for one chunk after another. */
class ChunkMemory {
  #values = new Float32Array(0);

  take(elements: number): Float32Array {
    if (this.#values.length < elements) this.#values = new Float32Array(elements);
    return this.#values.subarray(0, elements);
  }
}

function damaged(path: string, what: string): WindlassError {
  return corrupt(path, `is damaged: ${what} differ from what was saved`);
}
