// The state of one flat run of parameters on a rank: weights, and the moments of the optimizer.
import { keep, unscoped, view, zeros } from '#runtime/tensor/main.ts';
import type { Device, Event, Tensor } from '#runtime/tensor/main.ts';
import type { FlatLayout, Piece } from './flat-layout.ts';

export interface FlatStateOptions {
  /** Which shard this rank updates. */
  readonly shard: number;
  /** Whether all weights are kept, and not the own shard only (ZeRO 3). */
  readonly keepsWhole: boolean;
  /** See `FlatState.current`; the caller's. */
  readonly current: Event;
  /** Whether the parameters count in the gradient norm here: one rank of those that hold the same ones counts them. */
  readonly counts: (piece: Piece) => boolean;
  /** Which of the ranks that hold the same piece this one is, and how many there are. */
  readonly replica: (piece: Piece) => { readonly replica: number; readonly replicas: number };
}

/** A piece of a parameter with all that belongs to it on this rank. */
export interface PieceState {
  readonly piece: Piece;
  readonly counts: boolean;
  /** Which of the ranks that hold it this one is, and how many there are. */
  readonly replica: number;
  readonly replicas: number;
  readonly weight: Tensor;
  readonly first: Tensor;
  readonly second: Tensor;
}

export class FlatState {
  readonly layout: FlatLayout;
  /** [layout.shardSize]: the weights that this rank updates. */
  readonly shard: Tensor;
  /** [layout.size]: all weights, where they are kept; `shard` is a part of it. */
  readonly whole: Tensor | undefined;
  readonly pieces: readonly PieceState[];
  /** The weights are those of the newest update. */
  readonly current: Event;
  readonly #first: Tensor;
  readonly #second: Tensor;

  constructor(device: Device, layout: FlatLayout, options: FlatStateOptions) {
    this.layout = layout;
    this.current = options.current;
    const { shardSize, size, name } = layout;
    const make = (elements: number, label: string) => unscoped(() => zeros(device, [elements], `${label} of ${name}`));
    this.whole = options.keepsWhole ? make(size, 'weights') : undefined;
    const { whole } = this;
    this.shard = whole
      ? unscoped(() => view(whole, options.shard * shardSize, [shardSize]))
      : make(shardSize, 'shard of the weights');
    this.#first = make(shardSize, 'first moment');
    this.#second = make(shardSize, 'second moment');
    this.pieces = layout.pieces(options.shard).map((piece) => {
      const part = (flat: Tensor) => partOf(flat, piece, options.shard * shardSize);
      return {
        piece,
        counts: options.counts(piece),
        ...options.replica(piece),
        weight: part(this.shard),
        first: part(this.#first),
        second: part(this.#second),
      };
    });
  }

  /** Views of the pieces in a gradient of the shard, [layout.shardSize], under the current scope. */
  gradients(reduced: Tensor): Tensor[] {
    const begin = this.#shardBegin();
    return this.pieces.map(({ piece }) =>
      view(reduced, piece.entry.offset + piece.begin - begin, [piece.end - piece.begin], piece.entry.spec.name),
    );
  }

  [Symbol.dispose](): void {
    for (const { weight, first, second } of this.pieces) for (const tensor of [weight, first, second]) tensor.dispose();
    for (const tensor of [this.shard, this.whole, this.#first, this.#second]) tensor?.dispose();
  }

  #shardBegin(): number {
    const [first] = this.pieces;
    if (!first) return 0;
    const { offset } = first.piece.entry;
    return Math.floor((offset + first.piece.begin) / this.layout.shardSize) * this.layout.shardSize;
  }
}

function partOf(flat: Tensor, { entry, begin, end }: Piece, shardBegin: number): Tensor {
  return keep(unscoped(() => view(flat, entry.offset + begin - shardBegin, [end - begin], entry.spec.name)));
}
