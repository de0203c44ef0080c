// Flat memory on a device that the units of a rank take in turns for their gradients.
import { Event, Stream, empty, unscoped } from '#runtime/tensor/main.ts';
import type { Device, Tensor } from '#runtime/tensor/main.ts';
import { BufferPool } from './buffer-pool.ts';

export interface GradientBuffer {
  readonly elements: number;
  /** [elements] */
  readonly flat: Tensor;
  /** Which reading it was given back to; 0 before the first. */
  reading: number;
}

/** Readings whose end is known by itself; a buffer that was free for longer waits for the end of the oldest of these. */
const marks = 4;

/** Whole gradients, which are computed, and shards, which are received, are apart. */
export class GradientBuffers {
  readonly #compute: Stream;
  readonly #wholes: BufferPool<GradientBuffer>;
  readonly #shards: BufferPool<GradientBuffer>;
  readonly #all: Tensor[] = [];
  readonly #ends = Array.from({ length: marks }, () => new Event());
  #readings = 0;

  constructor(device: Device) {
    this.#compute = Stream.of(device);
    const make = (elements: number): GradientBuffer => {
      const flat = unscoped(() => empty(device, [elements], 'gradients'));
      this.#all.push(flat);
      return { elements, flat, reading: 0 };
    };
    this.#wholes = new BufferPool(make);
    this.#shards = new BufferPool(make);
  }

  /** Memory of any content for what is enqueued to compute from now on. */
  takeWhole(elements: number): GradientBuffer {
    const buffer = this.#wholes.take(elements);
    const reading = Math.max(buffer.reading, this.#readings - marks + 1);
    if (buffer.reading > 0) this.#compute.after(this.#ends[reading % marks]!);
    return buffer;
  }

  /** What computes has done with it. */
  giveWhole(buffer: GradientBuffer): void {
    buffer.reading = 0;
    this.#wholes.give(buffer);
  }

  /** What `stream` holds reads them last; others are taken until the next are given this way. */
  giveRead(buffers: readonly GradientBuffer[], stream: Stream): void {
    this.#readings += 1;
    this.#ends[this.#readings % marks]!.mark(stream);
    for (const buffer of buffers) buffer.reading = this.#readings;
    this.#wholes.giveLate(buffers);
  }

  /** Memory of any content for what comes after all that computes now. */
  takeShard(elements: number): GradientBuffer {
    return this.#shards.take(elements);
  }

  /** Whoever takes it next comes after all that is done with it now. */
  giveShard(buffer: GradientBuffer): void {
    this.#shards.give(buffer);
  }

  /** There was time for all readings so far: what they read may be taken. */
  settle(): void {
    this.#wholes.settle();
  }

  [Symbol.dispose](): void {
    for (const flat of this.#all) flat.dispose();
    for (const end of this.#ends) end[Symbol.dispose]();
  }
}
