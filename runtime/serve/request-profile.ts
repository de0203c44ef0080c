// The part of a profile that an engine writes: what its streams did from its first request on, until it ends or there is no more room.
import type { Logger } from 'pino';
import type { ProfileWindow } from '#runtime/api/profile/part.ts';
import { writePart } from '#runtime/api/profile/write-part.ts';
import type { EngineObserver } from '#runtime/engine/main.ts';
import { StreamProfile, wallClockUs } from '#runtime/tensor/main.ts';
import type { Device } from '#runtime/tensor/main.ts';

interface RequestProfileOptions {
  readonly folder: string;
  readonly pod: string;
  readonly model: string;
  readonly device: Device;
  readonly log: Logger;
}

/** Engines come after ranks. */
const order = 1_000_000;
/** Requests that are told; a profile that holds more of them is not read by anybody. */
const maxRequests = 1000;

export class RequestProfile {
  readonly #options: RequestProfileOptions;
  readonly #windows: ProfileWindow[] = [];
  #recording: StreamProfile | undefined;

  constructor(options: RequestProfileOptions) {
    this.#options = options;
  }

  /** Requests that end from now on are recorded. */
  async start(): Promise<void> {
    this.#recording = await StreamProfile.start(this.#options.device);
  }

  /** What `observer` is told, told to it and to this profile. */
  observing(observer: EngineObserver): EngineObserver {
    return {
      ...observer,
      finished: (reason, afterArrival, sequence) => {
        this.#ended(afterArrival, { id: sequence.id, reason, promptTokens: sequence.promptLength });
        observer.finished?.(reason, afterArrival, sequence);
      },
    };
  }

  /** Ends the recording. Who can't write it says so and goes on. */
  async write(): Promise<void> {
    const { folder, pod, model, log } = this.#options;
    if (!this.#recording) return;
    try {
      const recorded = await this.#recording.stop();
      const { left, spans } = recorded;
      const untilUs = left > 0 ? spans.reduce((last, { endUs }) => Math.max(last, endUs), 0) : Infinity;
      const windows = this.#windows.filter(({ endUs }) => endUs <= untilUs);
      const path = await writePart(folder, pod, { process: `${pod} (${model})`, order, ...recorded, windows });
      log.info({ path, requests: windows.length }, 'the part of the profile is written');
    } catch (error) {
      log.error({ err: error }, 'the part of the profile could not be written');
    }
  }

  #ended(afterArrival: number, args: ProfileWindow['args']): void {
    if (!this.#recording || this.#windows.length >= maxRequests) return;
    const endUs = wallClockUs();
    this.#windows.push({ name: `request ${args['id']}`, row: 0, beginUs: endUs - afterArrival * 1e6, endUs, args });
  }
}
