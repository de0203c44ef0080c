// Between a training run and its checkpoints: takes a consistent copy of all state, saves it in the background, and puts it back.
import { join } from 'node:path';
import type { TrainingState } from '#runtime/checkpoint/manifest.ts';
import { openNewest, pruneCheckpoints, readTensor, saveCheckpoint } from '#runtime/checkpoint/store.ts';
import { toWindlassError, WindlassError } from '#runtime/api/errors.ts';
import type { Model } from '#runtime/model/main.ts';
import type { Tensor } from '#runtime/tensor/main.ts';
import type { AdamW } from './optimizer.ts';

export interface CheckpointerOptions {
  readonly jobDir: string;
  readonly keep: number;
  readonly configDigest: string;
  /** Told when a save ended: the step that is now safe, or why it is not. */
  readonly onSaved: (step: number) => void;
  readonly onFailed: (error: WindlassError) => void;
}

export class Checkpointer {
  readonly #options: CheckpointerOptions;
  readonly #root: string;
  /** `copy` is made at the first save and used for all: new memory for each would pile up between garbage collections. */
  readonly #tensors: { group: string; name: string; tensor: Tensor; copy?: Float32Array }[];
  #saving: Promise<WindlassError | undefined> = Promise.resolve(undefined);

  constructor(model: Model, optimizer: AdamW, options: CheckpointerOptions) {
    this.#options = options;
    this.#root = join(options.jobDir, 'checkpoints');
    const names = [...model.parameters.keys()];
    const group = (name: string, tensors: readonly Tensor[]) =>
      tensors.map((tensor, index) => ({ group: name, name: names[index]!, tensor }));
    this.#tensors = [
      ...group('weights', optimizer.parameters),
      ...group('first', optimizer.first),
      ...group('second', optimizer.second),
    ];
  }

  /**
   * Copies the state as it is after the steps enqueued so far and saves the copy while training goes on. Waits only for the save
   * before, and for the copy. A save that fails leaves older checkpoints alone.
   */
  async save(state: TrainingState): Promise<void> {
    await this.#saving;
    const copies = await Promise.all(
      this.#tensors.map(async (entry) => {
        const { group, name, tensor } = entry;
        entry.copy ??= new Float32Array(tensor.size);
        return { group, name, shape: tensor.shape, data: await tensor.read(entry.copy) };
      }),
    );
    this.#saving = this.#write(state, copies);
  }

  /** Waits for the save that is under way. Resolves to why it failed, if it did. */
  finished(): Promise<WindlassError | undefined> {
    return this.#saving;
  }

  /** Puts the newest good checkpoint back into model and optimizer; undefined if there is none. Throws WL_CHECKPOINT_MISMATCH for another job's. */
  async restore(onDamaged: (error: WindlassError) => void): Promise<TrainingState | undefined> {
    const newest = await openNewest(this.#root, onDamaged);
    if (!newest) return undefined;
    const { path, manifest } = newest;
    if (manifest.configDigest !== this.#options.configDigest) {
      throw new WindlassError(
        'WL_CHECKPOINT_MISMATCH',
        `${path} was saved with another model, data, tokenizer or task than this job has`,
        { details: { path } },
      );
    }
    for (const { group, name, tensor } of this.#tensors) {
      const stored = manifest.tensors[`${group}/${name}`];
      if (!stored || stored.shape.join() !== tensor.shape.join()) {
        const found = stored ? `has shape [${stored.shape.join(', ')}]` : 'is missing';
        throw new WindlassError(
          'WL_CHECKPOINT_MISMATCH',
          `${group}/${name} ${found} in ${path}; the model needs [${tensor.shape.join(', ')}]`,
          { details: { path } },
        );
      }
      tensor.write(await readTensor(path, name, stored));
    }
    await pruneCheckpoints(this.#root, this.#options.keep);
    return manifest.state;
  }

  async #write(
    state: TrainingState,
    copies: readonly { group: string; name: string; shape: readonly number[]; data: Float32Array }[],
  ): Promise<WindlassError | undefined> {
    try {
      const groups = Object.groupBy(copies, ({ group }) => group) as Record<string, typeof copies>;
      await saveCheckpoint(this.#root, { configDigest: this.#options.configDigest, state, groups });
      await pruneCheckpoints(this.#root, this.#options.keep);
      this.#options.onSaved(state.step);
      return undefined;
    } catch (thrown) {
      const error = toWindlassError(thrown);
      this.#options.onFailed(error);
      return error;
    }
  }
}
