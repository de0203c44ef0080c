// Between a training run and its checkpoints: takes a consistent copy of all state, saves it in the background, and puts it back.
import { join } from 'node:path';
import { toWindlassError } from '#runtime/api/errors.ts';
import type { WindlassError } from '#runtime/api/errors.ts';
import { localDisk } from '#runtime/checkpoint/disk.ts';
import type { Disk } from '#runtime/checkpoint/disk.ts';
import { alone } from '#runtime/checkpoint/exchange.ts';
import type { Exchange } from '#runtime/checkpoint/exchange.ts';
import { loadNewest } from '#runtime/checkpoint/load.ts';
import type { TrainingState } from '#runtime/checkpoint/manifest.ts';
import { saveCheckpoint } from '#runtime/checkpoint/save.ts';
import type { Shard } from '#runtime/checkpoint/shard.ts';
import { Staging } from '#runtime/checkpoint/staging.ts';
import type { PieceState } from '#runtime/parallel/main.ts';

export interface CheckpointerOptions {
  readonly jobDir: string;
  readonly keep: number;
  readonly configDigest: string;
  /** How this rank talks to the others; without it there are none. All ranks save and restore alike. */
  readonly exchange?: Exchange;
  readonly disk?: Disk;
  /**
   * Host memory for copies. Less than this rank writes makes `save` wait for the disk until the last part is copied; without it there is
   * room for all.
   */
  readonly stagingBytes?: number;
  /** Told when a save ended: the step that is now safe, or why it is not. */
  readonly onSaved: (step: number) => void;
  readonly onFailed: (error: WindlassError) => void;
}

export class Checkpointer {
  readonly #shards: readonly Shard[];
  readonly #options: CheckpointerOptions;
  readonly #root: string;
  readonly #exchange: Exchange;
  readonly #disk: Disk;
  readonly #staging: Staging;
  #saving: Promise<WindlassError | undefined> = Promise.resolve(undefined);

  /** `shards` is what this rank holds, weights and moments. */
  constructor(shards: readonly Shard[], options: CheckpointerOptions) {
    this.#shards = shards;
    this.#options = options;
    this.#root = join(options.jobDir, 'checkpoints');
    this.#exchange = options.exchange ?? alone;
    this.#disk = options.disk ?? localDisk;
    this.#staging = new Staging(options.stagingBytes ?? Infinity);
  }

  /**
   * Saves the state as it is after the steps enqueued so far, while training goes on. Waits only for the save before, and until the last
   * copy is enqueued. A save that fails leaves older checkpoints alone.
   */
  async save(state: TrainingState): Promise<void> {
    await this.#saving;
    await new Promise<void>((onCopied) => {
      this.#saving = this.#save(state, onCopied).finally(onCopied);
    });
  }

  /** Waits for the save that is under way. Resolves to why it failed, if it did. */
  finished(): Promise<WindlassError | undefined> {
    return this.#saving;
  }

  /**
   * Puts the newest good checkpoint back. Undefined if there is none: weights are then to be loaded, moments are as they were, or zero. Throws
   * WL_CHECKPOINT_MISMATCH for another job's. `onRead` is told the share that is read.
   */
  async restore(
    onDamaged: (error: WindlassError) => void,
    onRead: (share: number) => void = () => {},
  ): Promise<TrainingState | undefined> {
    const { configDigest, keep } = this.#options;
    return await loadNewest(this.#root, configDigest, this.#shards, {
      exchange: this.#exchange,
      disk: this.#disk,
      keep,
      onRead,
      onDamaged,
    });
  }

  async #save(state: TrainingState, onCopied: () => void): Promise<WindlassError | undefined> {
    const { configDigest, keep, onSaved, onFailed } = this.#options;
    try {
      const contents = { configDigest, state, shards: this.#shards };
      const [exchange, disk, staging] = [this.#exchange, this.#disk, this.#staging];
      await saveCheckpoint(this.#root, contents, { exchange, disk, keep, staging, onCopied });
      onSaved(state.step);
      return undefined;
    } catch (thrown) {
      const error = toWindlassError(thrown);
      onFailed(error);
      return error;
    }
  }
}

/** What a rank keeps of weights and moments, piece by piece. */
export function shardsOf(pieces: readonly PieceState[]): Shard[] {
  const groups = ['weight', 'first', 'second'] as const;
  return groups.flatMap((kind) =>
    pieces.map((state) => {
      const { piece, replica, replicas } = state;
      const { spec, box } = piece.entry;
      const range = { tensor: state[kind], box, begin: piece.begin, end: piece.end, replica, replicas };
      return { group: kind === 'weight' ? 'weights' : kind, name: spec.name, shape: spec.shape, ranges: [range] } as const;
    }),
  );
}
