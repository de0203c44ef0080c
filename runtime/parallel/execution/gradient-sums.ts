// The gradients that one unit computes over the grains of a step, before they go to other ranks.
import { addInto, unscoped, view } from '#runtime/tensor/main.ts';
import type { Parameter, Tensor } from '#runtime/tensor/main.ts';
import type { FlatEntry, FlatLayout } from './flat-layout.ts';
import type { GradientBuffer, GradientBuffers } from './gradient-buffers.ts';
import { GradientTree } from './gradient-tree.ts';

/** A parameter that computes, and where it lies in its flat memory. */
export interface PlacedParameter {
  readonly parameter: Parameter;
  readonly entry: FlatEntry;
}

interface Open {
  readonly buffer: GradientBuffer;
  readonly views: readonly Tensor[];
}

export interface SumsOptions {
  readonly buffers: GradientBuffers;
  /** Whether grains are handed on one by one, and not their sum. */
  readonly everyGrain: boolean;
}

export class GradientSums {
  readonly #options: SumsOptions;
  readonly #layout: FlatLayout;
  readonly #parameters: readonly PlacedParameter[];
  readonly #open = new Map<number, Open>();
  readonly #tree: GradientTree<GradientBuffer>;
  readonly #grains: GradientBuffer[] = [];

  constructor(options: SumsOptions, layout: FlatLayout, parameters: readonly PlacedParameter[]) {
    this.#options = options;
    this.#layout = layout;
    this.#parameters = parameters;
    this.#tree = new GradientTree((older, newer) => {
      addInto(older.flat, newer.flat);
      options.buffers.giveWhole(newer);
      return older;
    });
  }

  /** From now on gradients of the parameters are written for `grain`; a second opening goes on with the same buffer. */
  open(grain: number): void {
    const open = this.#open.get(grain) ?? this.#begin();
    this.#open.set(grain, open);
    for (const [index, { parameter }] of this.#parameters.entries()) parameter.gradTarget = open.views[index];
  }

  /** The gradient of `grain` is whole. `finish` is given its memory before it goes on. Grains come in order. */
  close(grain: number, finish: (flat: Tensor) => void): void {
    const open = this.#open.get(grain);
    if (!open) throw new Error(`internal: no gradient of grain ${grain} is open in ${this.#layout.name}`);
    this.#open.delete(grain);
    this.#end(open);
    finish(open.buffer.flat);
    if (this.#options.everyGrain) this.#grains.push(open.buffer);
    else this.#tree.add(open.buffer);
  }

  /** [layout.size]: the sum of all grains, or the oldest grain that was not taken. The caller gives it back. */
  take(): GradientBuffer {
    if (!this.#options.everyGrain) return this.#tree.finish();
    const grain = this.#grains.shift();
    if (!grain) throw new Error(`internal: no grain of ${this.#layout.name} is whole`);
    return grain;
  }

  [Symbol.dispose](): void {
    for (const open of this.#open.values()) this.#end(open);
  }

  #begin(): Open {
    const buffer = this.#options.buffers.takeWhole(this.#layout.size);
    const views = unscoped(() =>
      this.#parameters.map(({ parameter, entry }) =>
        view(buffer.flat, entry.offset, parameter.shape, `gradient of ${parameter.label}`),
      ),
    );
    return { buffer, views };
  }

  #end({ views }: Open): void {
    for (const [index, { parameter }] of this.#parameters.entries()) {
      if (parameter.gradTarget === views[index]) parameter.gradTarget = undefined;
      views[index]?.dispose();
    }
  }
}
