// The trace that a job asks for: of which steps, and where it is written.
import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TrainingJobSpec } from '#crds/v1alpha1/training-job.ts';
import { traceFileName, TraceRecorder } from '#runtime/parallel/main.ts';
import type { Mesh } from '#runtime/parallel/main.ts';
import type { Device } from '#runtime/tensor/main.ts';

interface JobTraceOptions {
  readonly folder: string;
  readonly mesh: Mesh;
  readonly device: Device;
  readonly log: (fields: object, message: string) => void;
}

/** Records steps `afterStep` + 1 to `afterStep` + `steps`, and writes them once they are over. */
export class JobTrace {
  readonly #options: JobTraceOptions;
  readonly #wanted: NonNullable<TrainingJobSpec['trace']>;
  readonly #recorder: TraceRecorder;
  #isWritten = true;

  constructor(wanted: NonNullable<TrainingJobSpec['trace']>, options: JobTraceOptions) {
    this.#wanted = wanted;
    this.#options = options;
    this.#recorder = new TraceRecorder(options.mesh, options.device);
  }

  get observer(): TraceRecorder {
    return this.#recorder;
  }

  /** `step` comes next, undefined: none. Training goes on without a trace that can't be written. */
  async starting(step: number | undefined): Promise<void> {
    const { steps, afterStep } = this.#wanted;
    if (step !== undefined && step > afterStep && step <= afterStep + steps) {
      this.#isWritten = false;
      this.#recorder.start(step);
    } else if (!this.#isWritten) {
      this.#isWritten = true;
      await this.#write();
    }
  }

  /** The step that was started is over. */
  stepped(): void {
    this.#recorder.stop();
  }

  [Symbol.dispose](): void {
    this.#recorder[Symbol.dispose]();
  }

  async #write(): Promise<void> {
    const { folder, mesh, log } = this.#options;
    const path = join(folder, traceFileName(mesh.rank));
    const temporary = `${path}.tmp`;
    try {
      await writeFile(temporary, JSON.stringify(await this.#recorder.read()));
      await rename(temporary, path);
      log({ path }, 'trace is written');
    } catch (error) {
      log({ err: error }, 'the trace could not be written');
    }
  }
}
