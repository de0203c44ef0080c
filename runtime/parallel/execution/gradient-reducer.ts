// Adds gradients over the data ranks, on a stream of its own, while the backward pass goes on; of what ranks share out only the shard stays.
import { Event, addInto } from '#runtime/tensor/main.ts';
import type { Communicator, Stream, Tensor } from '#runtime/tensor/main.ts';
import type { FlatState } from './flat-state.ts';
import type { GradientBuffer, GradientBuffers } from './gradient-buffers.ts';
import { GradientTree } from './gradient-tree.ts';
import type { Mesh } from './mesh.ts';
import type { Unit, UnitMember } from './unit.ts';

export interface ReducerOptions {
  readonly mesh: Mesh;
  readonly compute: Stream;
  /** The stream that reduces. */
  readonly stream: Stream;
  readonly buffers: GradientBuffers;
  /** Whether units are reduced once all are computed, not as soon as each one is (ZeRO 1). */
  readonly waitsForAll: boolean;
  /** The rank that holds the other copy of the token table, where the head is tied to it and stands on another rank. */
  readonly tied: Communicator | undefined;
}

interface Sum {
  readonly member: UnitMember;
  readonly buffer: GradientBuffer;
}

export class GradientReducer {
  readonly #options: ReducerOptions;
  readonly #event = new Event();
  /** Of what was reduced of each member. */
  readonly #trees = new Map<UnitMember, GradientTree<GradientBuffer>>();
  #waiting: Unit[] = [];
  #sums: Sum[] = [];

  constructor(options: ReducerOptions) {
    this.#options = options;
  }

  /** A new step begins: nobody needs the sums of the last one. */
  begin(): void {
    const { buffers, mesh } = this.#options;
    for (const { buffer } of this.#sums.splice(0)) {
      if (mesh.shardReduce) buffers.giveShard(buffer);
      else buffers.giveWhole(buffer);
    }
  }

  /** A forward pass begins: there is time for what is being reduced. */
  pause(): void {
    this.#options.buffers.settle();
  }

  /** The unit has gradients that are whole on this rank; `isLast`: there are no others in this step. */
  take(unit: Unit, isLast: boolean): void {
    if (this.#options.waitsForAll) this.#waiting.push(unit);
    else this.#reduce(unit, isLast);
  }

  /** The gradient of each state's shard over all grains of the step, for what is enqueued to compute from now on, until the next `begin`. */
  finish(): Map<FlatState, Tensor> {
    for (const unit of this.#waiting.splice(0)) this.#reduce(unit, true);
    const { compute, stream, tied } = this.#options;
    this.#event.mark(stream);
    compute.after(this.#event);
    const gradients = new Map<FlatState, Tensor>();
    for (const {
      member: { state },
      buffer: { flat },
    } of this.#sums) {
      const table = gradients.get(state);
      if (table) addInto(table, flat);
      else gradients.set(state, flat);
    }
    for (const { member, buffer } of this.#sums) {
      if (member.isTied) tied?.allReduce(compute, buffer.flat, 'sum', `tied gradient of ${member.state.layout.name}`);
    }
    return gradients;
  }

  [Symbol.dispose](): void {
    this.#event[Symbol.dispose]();
  }

  #reduce(unit: Unit, isLast: boolean): void {
    const { mesh, compute, stream, buffers } = this.#options;
    const read: GradientBuffer[] = [];
    this.#event.mark(compute);
    stream.after(this.#event);
    for (const member of unit.members) {
      const { layout } = member.state;
      const site = `gradient of ${layout.name}`;
      const whole = member.gradients.take();
      if (!whole) continue;
      const tree = this.#treeOf(member);
      if (mesh.shardReduce) {
        const shard = buffers.takeShard(layout.shardSize);
        mesh.shardReduce.reduceScatter(stream, whole.flat, shard.flat, site);
        read.push(whole);
        tree.add(shard);
      } else tree.add(whole);
      if (!isLast) continue;
      const buffer = tree.finish();
      mesh.replicate?.allReduce(stream, buffer.flat, 'sum', site);
      this.#sums.push({ member, buffer });
    }
    if (read.length > 0) buffers.giveRead(read, stream);
  }

  #treeOf(member: UnitMember): GradientTree<GradientBuffer> {
    const { stream, buffers } = this.#options;
    const tree =
      this.#trees.get(member) ??
      new GradientTree<GradientBuffer>((older, newer) => {
        addInto(older.flat, newer.flat, stream);
        buffers.giveShard(newer);
        return older;
      });
    this.#trees.set(member, tree);
    return tree;
  }
}
