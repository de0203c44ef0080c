// The gradients of one unit over the grains of a step: each grain writes into a buffer, and buffers are added in the fixed tree.
import { addInto, empty, unscoped, view } from '#runtime/tensor/main.ts';
import type { Device, Parameter, Tensor } from '#runtime/tensor/main.ts';
import type { FlatEntry, FlatLayout } from './flat-layout.ts';
import { GradientTree } from './gradient-tree.ts';

/** A parameter that computes, and where it lies in its flat memory. */
export interface PlacedParameter {
  readonly parameter: Parameter;
  readonly entry: FlatEntry;
}

interface Buffer {
  readonly flat: Tensor;
  readonly views: readonly Tensor[];
}

export class GradientSums {
  readonly #device: Device;
  readonly #layout: FlatLayout;
  readonly #parameters: readonly PlacedParameter[];
  readonly #tree = new GradientTree<Buffer>((older, newer) => this.#add(older, newer));
  readonly #all: Buffer[] = [];
  readonly #free: Buffer[] = [];
  readonly #open = new Map<number, Buffer>();
  /** [layout.shardSize]: the own shard of the sum over the ranks of the shard group; absent where the rank is alone in it. */
  readonly #shard: Tensor | undefined;

  constructor(device: Device, layout: FlatLayout, parameters: readonly PlacedParameter[]) {
    this.#device = device;
    this.#shard =
      layout.shardSize < layout.size
        ? unscoped(() => empty(device, [layout.shardSize], `reduced gradient of ${layout.name}`))
        : undefined;
    this.#layout = layout;
    this.#parameters = parameters;
  }

  /** Bytes of all buffers so far. */
  get bytes(): number {
    return this.#all.length * this.#layout.size * 4;
  }

  /** From now on gradients of the parameters are written for `grain`; a second opening goes on with the same buffer. */
  open(grain: number): void {
    const buffer = this.#open.get(grain) ?? this.#free.pop() ?? this.#make();
    this.#open.set(grain, buffer);
    for (const [index, { parameter }] of this.#parameters.entries()) parameter.gradTarget = buffer.views[index];
  }

  /** The gradient of `grain` is whole. `finish` is given its memory before it goes into the sum. Grains come in order. */
  close(grain: number, finish: (flat: Tensor) => void): void {
    const buffer = this.#open.get(grain);
    if (!buffer) throw new Error(`internal: no gradient of grain ${grain} is open in ${this.#layout.name}`);
    this.#open.delete(grain);
    finish(buffer.flat);
    this.#tree.add(buffer);
  }

  /** The sum of all grains, [layout.size]. Its memory is used again by the next step. */
  total(): Tensor {
    const total = this.#tree.finish();
    this.#free.push(total);
    return total.flat;
  }

  /** Where the sum over all ranks goes: the memory of `total` itself where the rank is alone in its shard group. */
  reduced(total: Tensor): Tensor {
    return this.#shard ?? total;
  }

  [Symbol.dispose](): void {
    for (const { parameter } of this.#parameters) parameter.gradTarget = undefined;
    for (const { flat, views } of this.#all) for (const tensor of [...views, flat]) tensor.dispose();
    this.#shard?.dispose();
  }

  #add(older: Buffer, newer: Buffer): Buffer {
    addInto(older.flat, newer.flat);
    this.#free.push(newer);
    return older;
  }

  #make(): Buffer {
    return unscoped(() => {
      const flat = empty(this.#device, [this.#layout.size], `gradient of ${this.#layout.name}`);
      const views = this.#parameters.map(({ parameter, entry }) =>
        view(flat, entry.offset, parameter.shape, `gradient of ${parameter.label}`),
      );
      const buffer = { flat, views };
      this.#all.push(buffer);
      return buffer;
    });
  }
}
