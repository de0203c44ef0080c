// Texts that all ranks tell each other: what they found, what failed, what they decide. On a stream of its own; not for large data.
import { Stream, emptyIntegers, openDevice, tensor, unscoped } from '#runtime/tensor/main.ts';
import type { Communicator, Device } from '#runtime/tensor/main.ts';

export class TextExchange {
  readonly rank: number;
  readonly size: number;
  readonly #communicator: Communicator;
  readonly #device: Device = openDevice();
  readonly #stream = Stream.of(this.#device);
  #last: Promise<unknown> = Promise.resolve();

  /** `communicator` is for this alone. */
  constructor(communicator: Communicator) {
    this.rank = communicator.rank;
    this.size = communicator.size;
    this.#communicator = communicator;
  }

  /** What every rank said, by rank. All ranks call it equally often; the nth calls belong together. */
  allGather(text: string): Promise<string[]> {
    const next = this.#last.then(() => this.#gather(text));
    this.#last = next.catch(() => {});
    return next;
  }

  [Symbol.dispose](): void {
    this.#device.close();
  }

  async #gather(text: string): Promise<string[]> {
    const bytes = Buffer.from(text);
    const lengths = await this.#exchange(Int32Array.of(bytes.length), 'length of a text');
    const words = Math.ceil(Math.max(...lengths, 1) / 4);
    const own = new Int32Array(words);
    Buffer.from(own.buffer).set(bytes);
    const all = await this.#exchange(own, 'text');
    return Array.from(lengths, (length, rank) => Buffer.from(all.buffer, all.byteOffset + rank * words * 4, length).toString());
  }

  async #exchange(own: Int32Array, site: string): Promise<Int32Array> {
    const mine = unscoped(() => tensor(this.#device, own, [own.length], site));
    const all = unscoped(() => emptyIntegers(this.#device, [own.length * this.size], site));
    try {
      this.#communicator.allGather(this.#stream, mine, all, site);
      return await all.readIntegers();
    } finally {
      mine.dispose();
      all.dispose();
    }
  }
}
