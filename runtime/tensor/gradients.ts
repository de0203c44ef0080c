// The gradients of a backward pass: one per tensor, added up in the order in which they arrive.
import { empty } from './create.ts';
import type { DeferredGradients } from './deferred.ts';
import { ops } from './device.ts';
import { unscoped } from './scope.ts';
import { Parameter } from './tensor.ts';
import type { Tensor } from './tensor.ts';

/** Where an operation writes a gradient: `accumulate` says whether it adds to what is there, as the native operations take it. */
export type GradientTarget = { readonly tensor: Tensor; readonly accumulate: 0 | 1 };

export class GradientStore {
  readonly #tracks: (tensor: Tensor) => boolean;
  readonly #gradients = new Map<Tensor, Tensor>();
  /** Parameters whose `grad` is of this pass and not of the one before. */
  readonly #written = new Set<Parameter>();

  /** Where the work for parameters goes; absent: it is done at once. */
  readonly #later: DeferredGradients | undefined;

  constructor(tracks: (tensor: Tensor) => boolean, later?: DeferredGradients) {
    this.#tracks = tracks;
    this.#later = later;
  }

  /** Whether a gradient of `tensor` is of use. */
  wants(tensor: Tensor): boolean {
    return tensor instanceof Parameter || this.#tracks(tensor);
  }

  /** What has arrived at `tensor` so far; it stays the store's. */
  of(tensor: Tensor): Tensor | undefined {
    return this.#gradients.get(tensor);
  }

  /** Adds `gradient` to what has arrived at `tensor`. The same gradient may be given to several tensors. */
  give(tensor: Tensor, gradient: Tensor): void {
    if (!this.wants(tensor)) return;
    if (tensor instanceof Parameter && tensor.gradTarget) {
      this.#giveInto(tensor, tensor.gradTarget, gradient);
      return;
    }
    const existing = tensor instanceof Parameter ? (this.#written.has(tensor) ? tensor.grad : undefined) : this.of(tensor);
    if (!existing) this.#set(tensor, gradient);
    else if (existing.isExclusive) ops.add(existing.device.stream, existing.handle, gradient.handle, existing.handle);
    else {
      const sum = empty(existing.device, existing.shape, existing.label);
      ops.add(existing.device.stream, existing.handle, gradient.handle, sum.handle);
      this.#set(tensor, sum);
    }
  }

  /** Whether the gradient of `tensor` is to go to `target`, where it is already: then it counts as given. */
  isThere(tensor: Tensor, target: Tensor | undefined): boolean {
    if (!target || !(tensor instanceof Parameter) || tensor.gradTarget !== target) return false;
    if (this.#hasBegun(tensor))
      throw new Error(`internal: ${tensor.label} has two uses, of which one was written over the other`);
    this.#written.add(tensor);
    return true;
  }

  /** Memory for an operation that writes or adds the gradient of `tensor` itself. */
  into(tensor: Tensor): GradientTarget {
    if (tensor instanceof Parameter) return this.#intoParameter(tensor);
    const existing = this.of(tensor);
    if (existing?.isExclusive) return { tensor: existing, accumulate: 1 };
    const gradient = empty(tensor.device, tensor.shape, `gradient of ${tensor.label}`);
    if (existing) ops.copy(existing.device.stream, existing.handle, gradient.handle);
    this.#set(tensor, gradient);
    return { tensor: gradient, accumulate: existing ? 1 : 0 };
  }

  /**
   * Runs `compute`, which reads `reads` and writes the gradients of `weights` by `into`: now, or where these are parameters and the pass
   * defers them, later.
   */
  ofWeights(weights: readonly (Tensor | undefined)[], reads: readonly Tensor[], compute: () => void): void {
    if (this.#later && weights.every((weight) => !weight || weight instanceof Parameter)) this.#later.add(reads, compute);
    else compute();
  }

  /** Hands over the gradient of a leaf, as the caller's own. */
  take(tensor: Tensor): Tensor | undefined {
    const gradient = this.#gradients.get(tensor)?.takeOwnership();
    this.drop(tensor);
    return gradient;
  }

  /** Passes what has arrived at `from` on to `to`, which stands for the same value. */
  move(from: Tensor, to: Tensor): void {
    const gradient = this.of(from);
    if (gradient) this.give(to, gradient);
    this.drop(from);
  }

  drop(tensor: Tensor): void {
    this.#gradients.get(tensor)?.release();
    this.#gradients.delete(tensor);
  }

  clear(): void {
    for (const gradient of this.#gradients.values()) gradient.release();
    this.#gradients.clear();
  }

  #intoParameter(parameter: Parameter): GradientTarget {
    const isFirst = !this.#hasBegun(parameter);
    this.#written.add(parameter);
    const accumulate = isFirst ? 0 : 1;
    if (parameter.gradTarget) return { tensor: parameter.gradTarget, accumulate };
    parameter.grad ??= unscoped(() => empty(parameter.device, parameter.shape, `gradient of ${parameter.label}`));
    return { tensor: parameter.grad, accumulate };
  }

  #hasBegun(parameter: Parameter): boolean {
    return this.#written.has(parameter) || (parameter.gradTarget !== undefined && parameter.gradBegun);
  }

  #giveInto(parameter: Parameter, target: Tensor, gradient: Tensor): void {
    const { stream } = parameter.device;
    if (this.#hasBegun(parameter)) ops.add(stream, target.handle, gradient.handle, target.handle);
    else ops.copy(stream, gradient.handle, target.handle);
    this.#written.add(parameter);
  }

  #set(tensor: Tensor, gradient: Tensor): void {
    if (tensor instanceof Parameter) {
      const old = tensor.grad;
      tensor.grad = gradient.takeOwnership();
      if (old !== gradient) old?.dispose();
      this.#written.add(tensor);
    } else {
      gradient.retain();
      this.drop(tensor);
      this.#gradients.set(tensor, gradient);
    }
  }
}
