// Checksums that the compute core makes: of tensors, of memory, and of files while they are read into tensors.
import * as kernels from '#kernels/binding.ts';
import { WindlassError } from '#runtime/api/errors.ts';
import { toTensorError } from './errors.ts';
import { Event, Stream } from './stream.ts';
import type { Tensor } from './tensor.ts';

/** A number for the values of f32 tensors of one device: two lists of equal shapes have it in common if, and almost surely only if, all their bits are equal. */
export async function digest(tensors: readonly Tensor[]): Promise<number> {
  const [first] = tensors;
  if (!first) return 0;
  try {
    return await kernels.digest(
      first.device.stream,
      Uint32Array.from(tensors, ({ handle }) => handle),
    );
  } catch (error) {
    throw toTensorError(error);
  }
}

/** Threads that read files and make CRC-32s beside the device and JavaScript. */
export class FileLanes {
  readonly #lanes: readonly Stream[];
  readonly #before = new Event();
  #next = 0;

  constructor(lanes: number) {
    this.#lanes = Array.from({ length: lanes }, () => Stream.open());
  }

  /**
   * Fills elements from `offset` with the bytes from `position` of an open file, once what the device was given before has run; nothing else
   * may use them until then. Resolves with their CRC-32, or undefined where the file ends before. Throws WL_IO.
   */
  async read(file: number, position: number, tensor: Tensor, offset: number, elements: number): Promise<number | undefined> {
    const lane = this.#lane();
    const view = tensor.device.view(tensor, offset, [elements]);
    this.#before.mark(Stream.of(tensor.device));
    lane.after(this.#before);
    try {
      const sum = await kernels.readFile(lane.handle, view, file, position).finally(() => tensor.changed());
      return sum < 0 ? undefined : sum;
    } catch (error) {
      const fault = toTensorError(error);
      if (fault.code !== 'WL_DEVICE_LOST') throw fault;
      throw new WindlassError('WL_IO', fault.message, { cause: error });
    } finally {
      kernels.tensorFree(view);
    }
  }

  /** CRC-32 of memory that must stay as it is until then. */
  async checksum(memory: ArrayBufferView): Promise<number> {
    return await this.#checksum(memory, false);
  }

  /** CRC-32 of values that must stay as they are until then; undefined where one is NaN or infinite. */
  async checksumOfFinite(values: Float32Array): Promise<number | undefined> {
    const sum = await this.#checksum(values, true);
    return sum < 0 ? undefined : sum;
  }

  [Symbol.dispose](): void {
    for (const lane of this.#lanes) lane[Symbol.dispose]();
    this.#before[Symbol.dispose]();
  }

  async #checksum(memory: ArrayBufferView, finite: boolean): Promise<number> {
    try {
      return await kernels.checksum(this.#lane().handle, memory, finite);
    } catch (error) {
      throw toTensorError(error);
    }
  }

  #lane(): Stream {
    this.#next = (this.#next + 1) % this.#lanes.length;
    return this.#lanes[this.#next]!;
  }
}
