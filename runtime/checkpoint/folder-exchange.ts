// An exchange through a shared folder: for ranks that have no other way to talk, or when that way is what failed.
import { watch } from 'node:fs';
import { join } from 'node:path';
import { WindlassError } from '#runtime/api/errors.ts';
import { localDisk } from './disk.ts';
import type { Disk } from './disk.ts';
import type { Exchange } from './exchange.ts';
import { padded } from './names.ts';
import { readText } from './read-text.ts';

/** A file system of a network does not tell of what others write: look again after this time. */
const lookAgainMs = 50;

export interface FolderExchangeOptions {
  /** Used by these ranks in this attempt alone. */
  readonly folder: string;
  readonly rank: number;
  readonly size: number;
  /** How long the others may stay silent. */
  readonly deadlineMs: number;
  readonly disk?: Disk;
}

export class FolderExchange implements Exchange {
  readonly rank: number;
  readonly size: number;
  readonly #options: FolderExchangeOptions;
  readonly #disk: Disk;
  #round = 0;

  constructor(options: FolderExchangeOptions) {
    this.rank = options.rank;
    this.size = options.size;
    this.#options = options;
    this.#disk = options.disk ?? localDisk;
  }

  async allGather(text: string): Promise<string[]> {
    const round = this.#round;
    this.#round += 1;
    await this.#say(round, text);
    const files = Array.from({ length: this.size }, (_, rank) => nameOf(round, rank));
    await this.#appear(round, files);
    const texts = await Promise.all(files.map((file) => readText(this.#disk, join(this.#options.folder, file))));
    // Everybody is here, so everybody has read what was said before.
    await this.#disk.remove(join(this.#options.folder, nameOf(round - 1, this.rank)));
    return texts;
  }

  async #say(round: number, text: string): Promise<void> {
    const { folder } = this.#options;
    await this.#disk.makeFolder(folder);
    const name = nameOf(round, this.rank);
    const file = await this.#disk.create(join(folder, `.${name}`));
    try {
      await file.write(new TextEncoder().encode(text), 0);
    } finally {
      await file.close();
    }
    await this.#disk.rename(join(folder, `.${name}`), join(folder, name));
  }

  async #appear(round: number, files: readonly string[]): Promise<void> {
    const { folder, deadlineMs } = this.#options;
    const end = performance.now() + deadlineMs;
    for (;;) {
      const change = nextChange(folder, lookAgainMs);
      const names = new Set(await this.#disk.names(folder));
      const silent = files.flatMap((file, rank) => (names.has(file) ? [] : [rank]));
      if (silent.length === 0) {
        change.stop();
        return;
      }
      await change.seen;
      if (performance.now() < end) continue;
      const message = `rank ${silent.join(', ')} did not answer within ${deadlineMs / 1000} s (round ${round} in ${folder})`;
      throw new WindlassError('WL_RANK_LOST', message, { details: { ranks: silent } });
    }
  }
}

function nameOf(round: number, rank: number): string {
  return `round-${padded(round)}-rank-${padded(rank)}`;
}

/** Resolves when something in the folder changes, or after a while. */
function nextChange(folder: string, mostMs: number): { readonly seen: Promise<void>; stop(): void } {
  const { promise: seen, resolve } = Promise.withResolvers<void>();
  const watcher = watch(folder, () => stop());
  const timer = setTimeout(() => stop(), mostMs);
  const stop = () => {
    watcher.close();
    clearTimeout(timer);
    resolve();
  };
  watcher.on('error', stop);
  return { seen, stop };
}
