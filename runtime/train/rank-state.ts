// The state of a rank: comes from the newest checkpoint or from the beginning, and goes back there.
import type { WindlassError } from '#runtime/api/errors.ts';
import type { Disk } from '#runtime/checkpoint/disk.ts';
import type { TrainingState } from '#runtime/checkpoint/manifest.ts';
import { parameterSpecs } from '#runtime/model/main.ts';
import type { Device } from '#runtime/tensor/main.ts';
import type { Corpus } from './corpus.ts';
import type { RankJob } from './rank.ts';
import { jobDigest } from './job-digest.ts';
import { Checkpointer, shardsOf } from './snapshot.ts';
import { openWeights } from './starting-weights.ts';
import type { Trainer } from './trainer.ts';

interface RankStateParts {
  readonly trainer: Trainer;
  readonly device: Device;
  readonly disk: Disk;
  readonly corpus: Corpus;
}

export class RankState {
  readonly checkpointer: Checkpointer;
  readonly #job: RankJob;
  readonly #parts: RankStateParts;

  constructor(job: RankJob, parts: RankStateParts) {
    const { env, spec, world, progress, log } = job;
    const { trainer, disk, corpus } = parts;
    const { checkpointExchange: exchange } = world.mesh;
    this.#job = job;
    this.#parts = parts;
    this.checkpointer = new Checkpointer(shardsOf(trainer.execution.pieces), {
      disk,
      jobDir: env.WL_JOB_DIR,
      keep: spec.checkpoint.keep,
      configDigest: jobDigest({
        config: trainer.config,
        tokensKey: corpus.tokens.key,
        tokenizerDigest: corpus.tokenizer.digest,
        spec,
      }),
      ...(exchange ? { exchange } : {}),
      onSaved: (step) => progress.tell({ checkpointStep: step }),
      onFailed: (error) => log({ code: error.code, err: error }, `checkpoint failed: ${error.message}. ${error.remedy}`),
    });
  }

  /** Puts the newest good checkpoint in place; undefined if there is none. */
  async restore(): Promise<TrainingState | undefined> {
    const { progress, log } = this.#job;
    const { execution } = this.#parts.trainer;
    progress.tell({ phase: 'looking for a checkpoint' });
    // Chunks are written beside the streams that may still read the weights.
    await execution.settled();
    const state = await this.checkpointer.restore(
      (error) => log({ code: error.code }, error.message),
      (phaseShare) => progress.note({ phaseShare }),
    );
    if (state) execution.weightsChanged();
    return state;
  }

  /** Loads the weights that the job begins with. */
  async begin(): Promise<TrainingState> {
    const { spec, task, progress } = this.#job;
    const { trainer, device, corpus } = this.#parts;
    await using source = await openWeights(spec, corpus.tokenizer, task, device);
    const total = parameterSpecs(trainer.config).length;
    let read = 0;
    progress.note({ phase: 'loading weights', phaseShare: 0 });
    await trainer.load({
      read: async (name) => {
        const values = await source.read(name);
        progress.note({ phaseShare: (read += 1) / total });
        return values;
      },
    });
    return { step: 0, seed: task.seed, sequences: 0, tokens: 0, evaluationsSinceBest: 0 };
  }

  /** Waits for the save that is under way. Resolves to why it failed, if it did. */
  finished(): Promise<WindlassError | undefined> {
    return this.#job.progress.during('saving a checkpoint', () => this.checkpointer.finished());
  }

  /** Back to the newest checkpoint, or to the beginning. */
  async rollBack(): Promise<TrainingState> {
    await this.finished();
    return (await this.restore()) ?? (await this.begin());
  }
}
