// Writes the chunk files of one rank: safetensors files whose byte ranges the manifest lists with checksums.
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { safetensorsHeader } from '#runtime/model/safetensors.ts';
import { WindlassError } from '#runtime/api/errors.ts';
import type { Box } from './box.ts';
import { bytesOf } from './disk.ts';
import type { Disk, DiskFile } from './disk.ts';
import type { Chunk, FileFacts } from './manifest.ts';
import { padded } from './names.ts';
import type { PlannedChunk } from './save-plan.ts';

/** Chunks that are checked and written at a time: enough that the disk never waits for this thread. */
const writesAhead = 4;
/** A file is closed and made durable at about this size, while the next one is written. */
const fileElements = 64 << 20;

interface OpenFile extends FileFacts {
  readonly file: DiskFile;
  readonly name: string;
  /** Chunks written so far. */
  chunks: number;
}

export class ChunkWriter {
  readonly files: Record<string, FileFacts> = {};
  readonly tensors: Record<string, Chunk[]> = {};
  readonly #disk: Disk;
  readonly #folder: string;
  readonly #rank: number;
  /** What is still to come, by file; the first is being written. */
  readonly #planned: PlannedChunk[][];
  #open: OpenFile | undefined;
  /** Writes that are under way, oldest first. */
  readonly #writing: Promise<void>[] = [];
  #closing: Promise<void> = Promise.resolve();

  /** `chunks` is all that `write` will be given, in that order. */
  constructor(disk: Disk, folder: string, rank: number, chunks: readonly PlannedChunk[]) {
    this.#disk = disk;
    this.#folder = folder;
    this.#rank = rank;
    this.#planned = byFile(chunks);
  }

  /**
   * Writes the next chunk; `values` must hold until `written`. Throws WL_LOSS_NOT_FINITE, here or when a later call waits for this chunk, where
   * one is NaN or infinite.
   */
  async write({ tensor, box }: PlannedChunk, values: Float32Array): Promise<void> {
    const open = (this.#open ??= await this.#next());
    const begin = open.bytes;
    open.bytes += values.byteLength;
    open.chunks += 1;
    const [offsets, sizes] = [[...box.offsets], [...box.sizes]];
    const chunk = { offsets, sizes, file: open.name, begin, end: open.bytes, crc32: 0 };
    (this.tensors[tensor] ??= []).push(chunk);
    const checking = async () => {
      const checksum = await this.#disk.checksum(values);
      if (checksum !== undefined) chunk.crc32 = checksum;
      else throw new WindlassError('WL_LOSS_NOT_FINITE', `${tensor} holds NaN or infinite values; it is not saved`);
    };
    await this.#enqueue(both(checking(), open.file.write(bytesOf(values), begin)));
    if (open.chunks === this.#planned[0]?.length) await this.#finishFile();
  }

  /** Resolves when the memory of the chunks so far is free. */
  async written(): Promise<void> {
    while (this.#writing.length > 0) await this.#oldest();
  }

  /** Resolves when all is durable. */
  async finish(): Promise<void> {
    await this.written();
    await this.#closing;
  }

  /** Gives up what is open. */
  async abandon(): Promise<void> {
    await Promise.allSettled([...this.#writing, this.#closing]);
    await this.#open?.file.close();
    this.#open = undefined;
  }

  async #enqueue(writing: Promise<void>): Promise<void> {
    this.#writing.push(guard(writing));
    if (this.#writing.length >= writesAhead) await this.#oldest();
  }

  async #oldest(): Promise<void> {
    await this.#writing[0];
    void this.#writing.shift();
  }

  async #next(): Promise<OpenFile> {
    const index = Object.keys(this.files).length;
    const name = `rank-${padded(this.#rank)}-${padded(index)}.safetensors`;
    const header = safetensorsHeader(
      (this.#planned[0] ?? []).map(({ tensor, box }) => ({ name: chunkName(tensor, box), dtype: 'F32', shape: box.sizes })),
    );
    const file = await this.#disk.create(join(this.#folder, name));
    await this.#enqueue(file.write(header, 0));
    const headerBytes = header.length;
    return { file, name, headerBytes, headerCrc32: crc32(header), bytes: headerBytes, chunks: 0 };
  }

  async #finishFile(): Promise<void> {
    const { file, name, headerBytes, headerCrc32, bytes } = this.#open!;
    await this.written();
    await this.#closing;
    this.files[name] = { bytes, headerBytes, headerCrc32 };
    this.#planned.shift();
    this.#open = undefined;
    this.#closing = guard(syncAndClose(file));
  }
}

function byFile(chunks: readonly PlannedChunk[]): PlannedChunk[][] {
  const files: PlannedChunk[][] = [];
  let elements = Infinity;
  for (const chunk of chunks) {
    if (elements >= fileElements) {
      files.push([]);
      elements = 0;
    }
    files.at(-1)?.push(chunk);
    elements += chunk.end - chunk.begin;
  }
  return files;
}

/** A failure is seen by whoever waits for it; that nobody waits yet must not end the process. */
function guard(work: Promise<void>): Promise<void> {
  work.catch(() => {});
  return work;
}

async function syncAndClose(file: DiskFile): Promise<void> {
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Resolves when both have; rejects when both have ended, as they use the same memory. */
async function both(one: Promise<void>, other: Promise<void>): Promise<void> {
  for (const end of await Promise.allSettled([one, other])) if (end.status === 'rejected') throw end.reason;
}

function chunkName(tensor: string, { offsets }: Box): string {
  return offsets.every((offset) => offset === 0) ? tensor : `${tensor}@${offsets.join(',')}`;
}
