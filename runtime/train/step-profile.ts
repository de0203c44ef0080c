// The part of a profile that a rank writes: what its streams did in a few steps.
import type { ProfileWindow } from '#runtime/api/profile/part.ts';
import { writePart } from '#runtime/api/profile/write-part.ts';
import { StreamProfile, wallClockUs } from '#runtime/tensor/main.ts';
import type { Device } from '#runtime/tensor/main.ts';

interface StepProfileOptions {
  readonly folder: string;
  /** Name of the pod; there is one rank in each. */
  readonly pod: string;
  readonly job: string;
  readonly rank: number;
  readonly device: Device;
  readonly log: (fields: object, message: string) => void;
}

/** The first and the last step of those that are recorded. */
export interface RecordedSteps {
  readonly first: number;
  readonly last: number;
}

const recordedCount = 3;
/** Steps before them: memory is taken, weights are packed, threads are awake. */
const warmUpCount = 2;

/** Three steps after two, or the last three where fewer follow; steps `next` to `last` are ahead. */
export function recordedSteps(next: number, last: number): RecordedSteps {
  const first = Math.max(next, Math.min(next + warmUpCount, last - recordedCount + 1));
  return { first, last: Math.min(last, first + recordedCount - 1) };
}

export class StepProfile {
  readonly #options: StepProfileOptions;
  readonly #steps: RecordedSteps;
  readonly #windows: ProfileWindow[] = [];
  #recording: StreamProfile | undefined;
  #current: { readonly step: number; readonly beginUs: number } | undefined;
  #isWritten = false;

  constructor(steps: RecordedSteps, options: StepProfileOptions) {
    this.#steps = steps;
    this.#options = options;
  }

  /** `step` comes next, undefined: none. Training goes on without a profile that can't be written. */
  async starting(step: number | undefined): Promise<void> {
    const { first, last } = this.#steps;
    if (step === undefined || step > last) return await this.#write();
    if (step < first) return;
    this.#recording ??= await StreamProfile.start(this.#options.device);
    this.#current = { step, beginUs: wallClockUs() };
  }

  /** The step that was started is over. */
  stepped(): void {
    if (!this.#current) return;
    const { step, beginUs } = this.#current;
    this.#windows.push({ name: `step ${step}`, row: 0, beginUs, endUs: wallClockUs(), args: { step } });
    this.#current = undefined;
  }

  async #write(): Promise<void> {
    if (this.#isWritten || !this.#recording) return;
    this.#isWritten = true;
    const { folder, pod, job, rank, log } = this.#options;
    try {
      const recorded = await this.#recording.stop();
      const part = { process: `${job} rank ${rank}`, order: rank, windows: this.#windows, ...recorded };
      log({ path: await writePart(folder, pod, part) }, 'the part of the profile is written');
    } catch (error) {
      log({ err: error }, 'the part of the profile could not be written');
    }
  }
}
