// A communicator: the ranks that a collective operation is among. Operations run on a stream, in the order in which they are enqueued.
import * as kernels from '#kernels/binding.ts';
import { guarded, toTensorError } from './errors.ts';
import type { Stream } from './stream.ts';
import type { Tensor } from './tensor.ts';

export type Reduction = 'sum' | 'max' | 'min';

/** The collectives of the addon, with errors that carry codes. */
const native = Object.fromEntries(
  Object.entries(kernels.comm).map(([name, collective]) => [name, guarded(collective as (...args: unknown[]) => void)]),
) as unknown as typeof kernels.comm;
const splitOff = guarded(kernels.commSplit);

/**
 * All ranks must call the same operations with the same sizes in the same order; one that does not is named to all. Sums are added in a
 * fixed tree over the ranks. `site` says in a few words where the call stands, for messages and traces.
 */
export class Communicator {
  readonly handle: kernels.CommHandle;
  readonly rank: number;
  readonly size: number;
  /** What the log calls it. */
  readonly name: string;

  /** Takes a communicator over; `dispose` frees it. */
  constructor(handle: kernels.CommHandle, rank: number, size: number, name = 'world') {
    this.handle = handle;
    this.rank = rank;
    this.size = size;
    this.name = name;
  }

  /** A communicator of `ranks` of this one, which must contain the own; `name` must be the same on all of them. No message is sent. */
  split(ranks: readonly number[], name: string): Communicator {
    return new Communicator(splitOff(this.handle, ranks, name), ranks.indexOf(this.rank), ranks.length, name);
  }

  /** Resolves when all ranks are connected. */
  async ready(): Promise<void> {
    try {
      await kernels.commReady(this.handle);
    } catch (error) {
      throw toTensorError(error);
    }
  }

  /** `into` is x of all ranks reduced; it is x itself if not given. */
  allReduce(stream: Stream, x: Tensor, reduction: Reduction, site: string, into: Tensor = x): void {
    native.allReduce(stream.handle, this.handle, x.handle, into.handle, reduction, site);
  }

  /** y is the own slice of x of all ranks, summed: x has `size` times the elements of y, which may be that slice of x. */
  reduceScatter(stream: Stream, x: Tensor, y: Tensor, site: string): void {
    native.reduceScatter(stream.handle, this.handle, x.handle, y.handle, 'sum', site);
  }

  /** y is x of all ranks one after the other; x may be the own slice of y. */
  allGather(stream: Stream, x: Tensor, y: Tensor, site: string): void {
    native.allGather(stream.handle, this.handle, x.handle, y.handle, site);
  }

  send(stream: Stream, x: Tensor, to: number, site: string): void {
    native.send(stream.handle, this.handle, x.handle, to, site);
  }

  receive(stream: Stream, x: Tensor, from: number, site: string): void {
    native.receive(stream.handle, this.handle, x.handle, from, site);
  }

  /** Payload bytes that this rank has sent to peers through this communicator. */
  get bytesSent(): number {
    return kernels.commBytesSent(this.handle);
  }

  /** Lets all that waits on this communicator and its splits fail, and tells the peers why. */
  abort(message: string): void {
    kernels.commAbort(this.handle, message);
  }

  [Symbol.dispose](): void {
    kernels.commFree(this.handle);
  }
}
