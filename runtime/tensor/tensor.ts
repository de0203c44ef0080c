// A tensor: a light handle on memory of the compute core, with a count of who still needs it.
import type { Device } from './device.ts';
import type { QuantizedWeight } from './quantized.ts';
import { WindlassError } from '#runtime/api/errors.ts';

/** bf16 is for activations, u8 for blocks and panels of quantised weights. */
export type DType = 'f32' | 'i32' | 'u8' | 'bf16';

/**
 * Memory on a device. It has at most one owner (the scope it was made in, or whoever `keep`s it) and any number of retainers (tapes,
 * gradients); it is freed, in stream order, when the last of them lets go.
 */
export class Tensor {
  readonly device: Device;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** What the tensor is, for messages and the leak detector. */
  readonly label: string;
  /** The scope that disposes of it; only `scope.ts` writes it. */
  home: Set<Tensor> | undefined;
  #handle: number;
  #references = 1;
  #owned = true;

  constructor(device: Device, handle: number, dtype: DType, shape: readonly number[], label: string) {
    this.device = device;
    this.#handle = handle;
    this.dtype = dtype;
    this.shape = shape;
    this.label = label;
  }

  /** What operations call the memory by; 0 while there is none (see `Parameter.attach`). */
  get handle(): number {
    return this.#handle;
  }

  /** Stands for other memory of the same shape from now on. The memory before stays its owner's business. */
  protected moveTo(handle: number): void {
    this.#handle = handle;
  }

  /** Number of elements. */
  get size(): number {
    return sizeOf(this.shape);
  }

  /** Size of the last dim. */
  get columns(): number {
    return this.shape.at(-1) ?? 1;
  }

  /** All dims but the last. */
  get leading(): readonly number[] {
    return this.shape.slice(0, -1);
  }

  get isFreed(): boolean {
    return this.#references === 0;
  }

  /** Whether one owner or retainer alone can see a change of the values. */
  get isExclusive(): boolean {
    return this.#references === 1;
  }

  /** Keeps the memory until the matching `release`. */
  retain(): void {
    if (this.#references === 0) throw new WindlassError('WL_OP_INVALID', `tensor ${describe(this)} is used after it was freed`);
    this.#references += 1;
  }

  release(): void {
    if (this.#references === 0) throw new WindlassError('WL_OP_INVALID', `tensor ${describe(this)} is freed twice`);
    this.#references -= 1;
    if (this.#references === 0) this.device.free(this);
  }

  /** The owner lets go. Doing it twice is harmless, so `using` works inside a scope. */
  dispose(): void {
    this.home?.delete(this);
    this.home = undefined;
    if (!this.#owned) return;
    this.#owned = false;
    this.release();
  }

  /** Makes the caller the owner, whatever scope owned it before; it must be alive. */
  takeOwnership(): this {
    this.home?.delete(this);
    this.home = undefined;
    if (this.#owned) return this;
    this.retain();
    this.#owned = true;
    return this;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Overwrites the values from element `offset`: all of them if it is not given. `data` is copied before this returns. */
  write(data: Float32Array | Int32Array | Uint8Array, offset?: number): void {
    this.device.write(this, data, offset);
    this.changed();
  }

  /** To be called by whatever changes the values in place. */
  changed(): void {}

  /**
   * Values of an f32 tensor once all that was enqueued before has run, in `into` if it is given. With `offset`: as many as `into` has from
   * that element on. The tensor may be disposed of right after the call.
   */
  read(into?: Float32Array, offset?: number): Promise<Float32Array> {
    return this.device.readFloats(this, into, offset);
  }

  /** Values of an i32 tensor once all that was enqueued before has run. */
  readIntegers(): Promise<Int32Array> {
    return this.device.readIntegers(this);
  }

  /** Values of a u8 tensor once all that was enqueued before has run. */
  readBytes(): Promise<Uint8Array> {
    return this.device.readBytes(this);
  }
}

/**
 * A tensor that is trained. After a backward pass `grad` holds its gradient; the next pass overwrites it. Its memory may come and go:
 * made with handle 0, it stands for whatever it is attached to.
 */
export class Parameter extends Tensor {
  grad: Tensor | undefined;
  /** Memory of the caller's for the gradient: where it is set, a pass writes there and leaves `grad` alone. */
  gradTarget: Tensor | undefined;
  /** Whether `gradTarget` holds a part of the gradient already, to which a pass adds. */
  gradBegun = false;
  /** The weight as the panels that `linear` prefers while nothing is recorded; see `packWeight`. Gone when the values change. */
  packed: Tensor | undefined;
  /** The weight in fewer bits, which then stands for the plain values wherever nothing is recorded; see `setQuantized`. */
  quantized: QuantizedWeight | undefined;

  /** Hands the gradient to the caller, who then owns it. Throws WL_OP_INVALID if there is none. */
  takeGradient(): Tensor {
    const grad = this.grad;
    if (!grad) throw new WindlassError('WL_OP_INVALID', `parameter ${describe(this)} has no gradient`);
    this.grad = undefined;
    return grad;
  }

  /** Stands for the memory of `tensor`, of the same shape, until `detach`; the memory stays its owner's. */
  attach(tensor: Tensor): void {
    this.moveTo(tensor.handle);
    this.changed();
  }

  /** Lets go of what it was attached to. */
  detach(): void {
    this.moveTo(0);
    this.changed();
  }

  /** Frees the plain values and keeps the packed form: from then on the parameter can only be multiplied with, unrecorded. */
  dropPlain(): void {
    if (this.packed) super.dispose();
  }

  /** The packed form is of the values before: it goes. */
  override changed(): void {
    this.packed?.dispose();
    this.packed = undefined;
    this.quantized?.dispose();
    this.quantized = undefined;
  }

  override dispose(): void {
    this.grad?.dispose();
    this.grad = undefined;
    this.changed();
    super.dispose();
  }
}

function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, dim) => product * dim, 1);
}

/** `label f32[2, 3]`, for messages. */
export function describe(tensor: Tensor): string {
  return `${tensor.label} ${tensor.dtype}[${tensor.shape.join(', ')}]`;
}
