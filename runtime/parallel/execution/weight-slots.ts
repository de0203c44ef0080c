// The weights that a unit computes with: always there, or gathered from the shards of other ranks into one of a few slots of memory (ZeRO 3).
import { Event, copyInto, empty, unscoped, view } from '#runtime/tensor/main.ts';
import type { Communicator, Device, Stream, Tensor } from '#runtime/tensor/main.ts';
import type { Attach } from './attachment.ts';
import type { FlatState } from './flat-state.ts';
import type { Unit } from './unit.ts';
import { UnitSlots } from './unit-slots.ts';

export interface Weights {
  /** The units will be used next, in this order. */
  unshard(units: readonly Unit[]): void;
  /** The units will not be used for a while. */
  reshard(units: readonly Unit[]): void;
  /** What is enqueued to compute from now on finds the weights of the unit. */
  use(unit: Unit): void;
  /** Computing with them is over for the time being. */
  done(unit: Unit): void;
  /** The unit will be used soon; undefined: what `unshard` said last. */
  prefetch(unit: Unit | undefined): void;
  /** The shards have changed. */
  forget(): void;
  [Symbol.dispose](): void;
}

/** Weights that every rank keeps; their parameters were attached once. */
export function keptWeights(compute: Stream): Weights {
  return {
    unshard() {},
    reshard() {},
    use: (unit) => unit.members.forEach(({ state }) => compute.after(state.current)),
    done() {},
    prefetch() {},
    forget() {},
    [Symbol.dispose]() {},
  };
}

interface Slot {
  readonly memory: Tensor;
  views: Tensor[];
  readonly filled: Event;
  readonly free: Event;
}

export interface GatherOptions {
  readonly device: Device;
  readonly compute: Stream;
  /** The stream that gathers. */
  readonly stream: Stream;
  readonly shardGroup: Communicator;
  /** Neighbours that keep a part each of what was gathered, from the first time in a step to its end. */
  readonly nearGroup: Communicator | undefined;
  readonly attach: Attach;
  /** Slots: 2, one in use and one on its way, or one for each unit where weights are kept after the forward pass. */
  readonly slots: number;
  /** Elements of the largest unit. */
  readonly slotSize: number;
}

/** Weights of which each rank keeps a shard. Memory is fixed: what is not in use makes room for what comes next. */
export class GatheredWeights implements Weights {
  readonly #options: GatherOptions;
  readonly #slots: readonly Slot[];
  readonly #table: UnitSlots<Unit>;
  /** The parts that are kept among neighbours; `isThere` since the weights last changed. */
  readonly #parts = new Map<FlatState, { readonly memory: Tensor; isThere: boolean }>();

  constructor(options: GatherOptions) {
    this.#options = options;
    this.#slots = Array.from({ length: options.slots }, () => ({
      memory: unscoped(() => empty(options.device, [options.slotSize], 'gathered weights')),
      views: [],
      filled: new Event(),
      free: new Event(),
    }));
    this.#table = new UnitSlots(options.slots, {
      fill: (slot, unit) => this.#gather(this.#slots[slot]!, unit),
      empty: (slot, unit) => empties(this.#slots[slot]!, unit),
    });
  }

  unshard(units: readonly Unit[]): void {
    this.#table.unshard(units);
  }

  reshard(units: readonly Unit[]): void {
    this.#table.reshard(units);
  }

  use(unit: Unit): void {
    this.#options.compute.after(this.#slots[this.#table.use(unit)]!.filled);
  }

  done(unit: Unit): void {
    this.#slots[this.#table.done(unit)]!.free.mark(this.#options.compute);
  }

  prefetch(unit: Unit | undefined): void {
    this.#table.prefetch(unit);
  }

  forget(): void {
    this.#table.forget();
    for (const part of this.#parts.values()) part.isThere = false;
  }

  [Symbol.dispose](): void {
    this.#table.forget();
    for (const { memory } of this.#parts.values()) memory.dispose();
    for (const slot of this.#slots) {
      slot.memory.dispose();
      slot.filled[Symbol.dispose]();
      slot.free[Symbol.dispose]();
    }
  }

  #gather(slot: Slot, unit: Unit): void {
    const { stream, attach } = this.#options;
    stream.after(slot.free);
    unscoped(() => {
      let offset = 0;
      for (const { state, parameters } of unit.members) {
        const flat = view(slot.memory, offset, [state.layout.size], state.layout.name);
        slot.views.push(flat);
        offset += state.layout.size;
        this.#collect(state, flat);
        for (const placed of parameters) slot.views.push(attach(flat, placed));
      }
    });
    slot.filled.mark(stream);
  }

  /** From all shards, or, once there are, from the parts that neighbours keep. */
  #collect(state: FlatState, flat: Tensor): void {
    const { device, stream, shardGroup, nearGroup } = this.#options;
    const { size, name } = state.layout;
    const known = this.#parts.get(state);
    if (nearGroup && known?.isThere) {
      nearGroup.allGather(stream, known.memory, flat, `gather ${name} from neighbours`);
      return;
    }
    stream.after(state.current);
    shardGroup.allGather(stream, state.shard, flat, `gather ${name}`);
    if (!nearGroup) return;
    const elements = size / nearGroup.size;
    const part = known ?? { memory: empty(device, [elements], `part of ${name}`), isThere: false };
    this.#parts.set(state, part);
    const own = view(flat, nearGroup.rank * elements, [elements]);
    copyInto(own, part.memory, stream);
    own.dispose();
    part.isThere = true;
  }
}

function empties(slot: Slot, unit: Unit): void {
  for (const { parameters } of unit.members) for (const { parameter } of parameters) parameter.detach();
  for (const tensor of slot.views.splice(0)) tensor.dispose();
}
