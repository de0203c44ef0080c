// The weights that a unit computes with: always there, or gathered from the shards of other ranks into one of a few slots of memory (ZeRO 3).
import { Event, empty, unscoped, view } from '#runtime/tensor/main.ts';
import type { Communicator, Device, Stream, Tensor } from '#runtime/tensor/main.ts';
import type { Unit } from './unit.ts';

export interface Weights {
  /** What is enqueued to compute from now on finds the weights of the unit. */
  use(unit: Unit): void;
  /** Computing with them is over for the time being. */
  done(unit: Unit): void;
  /** The unit will be used soon. */
  prefetch(unit: Unit | undefined): void;
  /** The shards have changed. */
  forget(): void;
  [Symbol.dispose](): void;
}

/** Weights that every rank keeps; their parameters were attached once. */
export function keptWeights(compute: Stream): Weights {
  return {
    use: (unit) => unit.members.forEach(({ state }) => compute.after(state.current)),
    done() {},
    prefetch() {},
    forget() {},
    [Symbol.dispose]() {},
  };
}

interface Slot {
  readonly memory: Tensor;
  unit: Unit | undefined;
  views: Tensor[];
  users: number;
  lastUse: number;
  readonly filled: Event;
  readonly free: Event;
}

export interface GatherOptions {
  readonly device: Device;
  readonly compute: Stream;
  /** The stream that gathers. */
  readonly stream: Stream;
  readonly shardGroup: Communicator;
  /** Slots: 2, one in use and one on its way, or one for each unit where weights are kept after the forward pass. */
  readonly slots: number;
  /** Elements of the largest unit. */
  readonly slotSize: number;
}

/** Weights of which each rank keeps a shard. Memory is fixed: what is not in use makes room for what comes next. */
export class GatheredWeights implements Weights {
  readonly #options: GatherOptions;
  readonly #slots: Slot[];
  #uses = 0;

  constructor(options: GatherOptions) {
    this.#options = options;
    this.#slots = Array.from({ length: options.slots }, () => ({
      memory: unscoped(() => empty(options.device, [options.slotSize], 'gathered weights')),
      unit: undefined,
      views: [],
      users: 0,
      lastUse: 0,
      filled: new Event(),
      free: new Event(),
    }));
  }

  use(unit: Unit): void {
    const slot = this.#gather(unit);
    if (!slot) throw new Error('internal: all slots of gathered weights are in use');
    slot.users += 1;
    slot.lastUse = this.#uses += 1;
    this.#options.compute.after(slot.filled);
  }

  done(unit: Unit): void {
    const slot = this.#slots.find((each) => each.unit === unit);
    if (!slot) throw new Error(`internal: unit ${unit.index} is not gathered`);
    slot.users -= 1;
    slot.free.mark(this.#options.compute);
  }

  prefetch(unit: Unit | undefined): void {
    if (unit) this.#gather(unit);
  }

  forget(): void {
    for (const slot of this.#slots) this.#empty(slot);
  }

  [Symbol.dispose](): void {
    for (const slot of this.#slots) {
      this.#empty(slot);
      slot.memory.dispose();
      slot.filled[Symbol.dispose]();
      slot.free[Symbol.dispose]();
    }
  }

  /** The slot that has, or is getting, the unit; undefined if all are in use. */
  #gather(unit: Unit): Slot | undefined {
    const there = this.#slots.find((slot) => slot.unit === unit);
    if (there) return there;
    const [slot] = this.#slots.filter(({ users }) => users === 0).sort((a, b) => a.lastUse - b.lastUse);
    if (!slot) return undefined;
    this.#empty(slot);
    const { stream, shardGroup } = this.#options;
    stream.after(slot.free);
    slot.unit = unit;
    unscoped(() => {
      let offset = 0;
      for (const { state, parameters } of unit.members) {
        const flat = view(slot.memory, offset, [state.layout.size], state.layout.name);
        slot.views.push(flat);
        offset += state.layout.size;
        stream.after(state.current);
        shardGroup.allGather(stream, state.shard, flat, `gather ${state.layout.name}`);
        for (const { parameter, entry } of parameters) {
          const part = view(flat, entry.offset, parameter.shape, parameter.label);
          slot.views.push(part);
          parameter.attach(part);
        }
      }
    });
    slot.filled.mark(stream);
    return slot;
  }

  #empty(slot: Slot): void {
    for (const { parameters } of slot.unit?.members ?? []) for (const { parameter } of parameters) parameter.detach();
    for (const tensor of slot.views.splice(0)) tensor.dispose();
    slot.unit = undefined;
  }
}
