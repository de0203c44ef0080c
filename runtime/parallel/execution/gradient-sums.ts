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

/** The gradients of one use of parameters. */
export interface MemberGradients extends Disposable {
  /** From now on gradients of the parameters are written for `grain`; a second opening goes on with the same memory. */
  open(grain: number): void;
  /** The gradient of `grain` is whole. `finish` is given its memory before it goes on. Grains come in order. */
  close(grain: number, finish: (flat: Tensor) => void): void;
  /**
   * [layout.size]: the sum of all grains, or the oldest grain that was not taken. The caller gives it back. Undefined where the sum is
   * another use's.
   */
  take(): GradientBuffer | undefined;
  /** What became whole last. */
  readonly newest: GradientBuffer | undefined;
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

export class GradientSums implements MemberGradients {
  readonly #options: SumsOptions;
  readonly #layout: FlatLayout;
  readonly #parameters: readonly PlacedParameter[];
  readonly #open = new Map<number, Open>();
  readonly #tree: GradientTree<GradientBuffer>;
  readonly #grains: GradientBuffer[] = [];
  #newest: GradientBuffer | undefined;

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

  get newest(): GradientBuffer | undefined {
    return this.#newest;
  }

  open(grain: number): void {
    const open = this.#open.get(grain) ?? this.#begin();
    this.#open.set(grain, open);
    for (const [index, { parameter }] of this.#parameters.entries()) parameter.gradTarget = open.views[index];
  }

  close(grain: number, finish: (flat: Tensor) => void): void {
    const open = this.#open.get(grain);
    if (!open) throw new Error(`internal: no gradient of grain ${grain} is open in ${this.#layout.name}`);
    this.#open.delete(grain);
    this.#end(open);
    finish(open.buffer.flat);
    this.#newest = open.buffer;
    if (this.#options.everyGrain) this.#grains.push(open.buffer);
    else this.#tree.add(open.buffer);
  }

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
    return { buffer, views: viewsOf(buffer, this.#parameters) };
  }

  #end({ views }: Open): void {
    endOf(views, this.#parameters);
  }
}

/**
 * Gradients that a pass adds to what another use of the same parameters has left, whose sums these are: of the one grain of a step, with
 * nobody else's.
 */
export class AddedGradients implements MemberGradients {
  readonly newest = undefined;
  readonly #sums: () => MemberGradients;
  readonly #parameters: readonly PlacedParameter[];
  #views: readonly Tensor[] = [];

  constructor(sums: () => MemberGradients, parameters: readonly PlacedParameter[]) {
    this.#sums = sums;
    this.#parameters = parameters;
  }

  open(): void {
    const { newest } = this.#sums();
    if (!newest) throw new Error('internal: a gradient is added to one that is not there');
    // A step that failed may have left it open.
    this.close();
    this.#views = viewsOf(newest, this.#parameters);
    for (const [index, { parameter }] of this.#parameters.entries()) {
      parameter.gradTarget = this.#views[index];
      parameter.gradBegun = true;
    }
  }

  close(): void {
    endOf(this.#views, this.#parameters);
    this.#views = [];
  }

  take(): undefined {
    return undefined;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function viewsOf({ flat }: GradientBuffer, parameters: readonly PlacedParameter[]): Tensor[] {
  return unscoped(() =>
    parameters.map(({ parameter, entry }) => view(flat, entry.offset, parameter.shape, `gradient of ${parameter.label}`)),
  );
}

function endOf(views: readonly Tensor[], parameters: readonly PlacedParameter[]): void {
  for (const [index, { parameter }] of parameters.entries()) {
    const target = views[index];
    if (target && parameter.gradTarget === target) {
      parameter.gradTarget = undefined;
      parameter.gradBegun = false;
    }
    target?.dispose();
  }
}
