// Streams beside the device's own, and events that order them: what communication runs on while the device computes.
import * as kernels from '#kernels/binding.ts';
import { guarded, toTensorError } from './errors.ts';
import type { Device } from './device.ts';

const newStream = guarded(kernels.newStream);
const newEvent = guarded(kernels.newEvent);
const recordEvent = guarded(kernels.recordEvent);
const waitEvent = guarded(kernels.waitEvent);

/** A queue of operations with a thread of its own. Tensors that another stream wrote are used after `after` only. */
export class Stream {
  readonly handle: number;
  readonly #isOwn: boolean;

  private constructor(handle: number, isOwn: boolean) {
    this.handle = handle;
    this.#isOwn = isOwn;
  }

  static open(): Stream {
    return new Stream(newStream(), true);
  }

  /** The stream that `device` computes on. */
  static of(device: Device): Stream {
    return new Stream(device.stream, false);
  }

  /** What is enqueued here from now on runs after the moment that `event` marks. */
  after(event: Event): void {
    waitEvent(event.handle, this.handle);
  }

  /** Resolves when all that was enqueued so far has run; rejects with the first error of the stream. */
  async sync(): Promise<void> {
    try {
      await kernels.sync(this.handle);
    } catch (error) {
      throw toTensorError(error);
    }
  }

  [Symbol.dispose](): void {
    if (this.#isOwn) kernels.freeStream(this.handle);
  }
}

/** A moment of a stream that others can wait for; one that was never marked is not waited for. */
export class Event {
  readonly handle = newEvent();

  /** Marks the end of what `stream` holds now. */
  mark(stream: Stream): void {
    recordEvent(this.handle, stream.handle);
  }

  [Symbol.dispose](): void {
    kernels.freeEvent(this.handle);
  }
}
