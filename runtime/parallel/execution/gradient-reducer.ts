// Adds the gradients of a step over the data ranks, on a stream of its own, while the backward pass goes on with other units.
import { Event, addInto } from '#runtime/tensor/main.ts';
import type { Communicator, Stream, Tensor } from '#runtime/tensor/main.ts';
import type { FlatState } from './flat-state.ts';
import type { Mesh } from './mesh.ts';
import type { Unit, UnitMember } from './unit.ts';

export interface ReducerOptions {
  readonly mesh: Mesh;
  readonly compute: Stream;
  /** The stream that reduces. */
  readonly stream: Stream;
  /** Whether units are reduced once all are computed, not as soon as each one is (ZeRO 1). */
  readonly waitsForAll: boolean;
  /** The rank that holds the other copy of the token table, where the head is tied to it and stands on another rank. */
  readonly tied: Communicator | undefined;
}

export class GradientReducer {
  readonly #options: ReducerOptions;
  readonly #event = new Event();
  #waiting: UnitMember[] = [];
  #sums: { readonly state: FlatState; readonly gradient: Tensor; readonly isShared: boolean }[] = [];

  constructor(options: ReducerOptions) {
    this.#options = options;
  }

  /** The gradients of the unit over the rank's own grains are whole. */
  take(unit: Unit): void {
    if (this.#options.waitsForAll) this.#waiting.push(...unit.members);
    else for (const member of unit.members) this.#reduce(member);
  }

  /** The gradient of each state's shard over all grains of the step, for what is enqueued to compute from now on. */
  finish(): Map<FlatState, Tensor> {
    for (const member of this.#waiting.splice(0)) this.#reduce(member);
    const { compute, stream, tied } = this.#options;
    this.#event.mark(stream);
    compute.after(this.#event);
    const gradients = new Map<FlatState, Tensor>();
    for (const { state, gradient } of this.#sums) {
      const table = gradients.get(state);
      if (table) addInto(table, gradient);
      else gradients.set(state, gradient);
    }
    for (const { state, gradient, isShared } of this.#sums) {
      if (isShared) tied?.allReduce(compute, gradient, 'sum', `tied gradient of ${state.layout.name}`);
    }
    this.#sums = [];
    return gradients;
  }

  [Symbol.dispose](): void {
    this.#event[Symbol.dispose]();
  }

  #reduce({ state, gradients, isTied }: UnitMember): void {
    const { mesh, compute, stream } = this.#options;
    const total = gradients.total();
    const gradient = gradients.reduced(total);
    const site = `gradient of ${state.layout.name}`;
    this.#event.mark(compute);
    stream.after(this.#event);
    mesh.shardReduce?.reduceScatter(stream, total, gradient, site);
    mesh.replicate?.allReduce(stream, gradient, 'sum', site);
    this.#sums.push({ state, gradient, isShared: isTied });
  }
}
