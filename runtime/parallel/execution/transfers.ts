// Activations and their gradients between the stages of a pipeline: each boundary and direction has a communicator and a stream of its own.
import { Event, Stream, empty, keep, unscoped } from '#runtime/tensor/main.ts';
import type { Communicator, Device, Precision, Tensor } from '#runtime/tensor/main.ts';
import type { Mesh } from './mesh.ts';

type Direction = 'forward' | 'backward';

interface Channel {
  readonly communicator: Communicator;
  /** The own rank's and the peer's place in the communicator. */
  readonly peer: number;
  readonly stream: Stream;
}

export class Transfers {
  readonly #device: Device;
  readonly #compute: Stream;
  readonly #channels = new Map<string, Channel>();
  readonly #event = new Event();

  /** `placement[stage]` is the pipeline rank of a stage. Channels are opened in the order of the stages, the same on both sides. */
  constructor(mesh: Mesh, placement: readonly number[], device: Device, compute: Stream) {
    this.#device = device;
    this.#compute = compute;
    const own = mesh.at.pipeline;
    const rankAt = (pipeline: number) => mesh.layout.rankOf({ ...mesh.at, pipeline });
    for (const [stage, from] of placement.slice(0, -1).entries()) {
      const to = placement[stage + 1] ?? from;
      if (from === to || (own !== from && own !== to)) continue;
      for (const direction of ['forward', 'backward'] as const) {
        const communicator = mesh.group([rankAt(from), rankAt(to)], `${direction} ${stage}`);
        if (communicator)
          this.#channels.set(`${direction} ${stage}`, { communicator, peer: 1 - communicator.rank, stream: Stream.open() });
      }
    }
  }

  /** Bytes of activations and gradients that this rank has sent. */
  get bytesSent(): number {
    return [...this.#channels.values()].reduce((sum, { communicator }) => sum + communicator.bytesSent, 0);
  }

  /** Sends what has been computed; `boundary` is the lower of the two stages. The tensor may be let go of right after. */
  send(x: Tensor, direction: Direction, boundary: number): void {
    const { communicator, peer, stream } = this.#channel(direction, boundary);
    this.#event.mark(this.#compute);
    stream.after(this.#event);
    communicator.send(stream, x, peer, `${direction} of stage ${boundary}`);
  }

  /** Memory that computing finds filled. The caller owns it. */
  receive(shape: readonly number[], direction: Direction, boundary: number, dtype: Precision): Tensor {
    const { communicator, peer, stream } = this.#channel(direction, boundary);
    const x = keep(unscoped(() => empty(this.#device, shape, `${direction} of stage ${boundary}`, dtype)));
    communicator.receive(stream, x, peer, `${direction} of stage ${boundary}`);
    this.#event.mark(stream);
    this.#compute.after(this.#event);
    return x;
  }

  [Symbol.dispose](): void {
    for (const { stream } of this.#channels.values()) stream[Symbol.dispose]();
    this.#event[Symbol.dispose]();
  }

  #channel(direction: Direction, boundary: number): Channel {
    const channel = this.#channels.get(`${direction} ${boundary}`);
    if (!channel) throw new Error(`internal: no channel ${direction} ${boundary}`);
    return channel;
  }
}
