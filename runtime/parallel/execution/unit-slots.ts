// Which units' weights lie in which of a few slots of memory. Pure, so that a plan can count what a rank will gather.

interface Slot<Unit> {
  readonly index: number;
  unit: Unit | undefined;
  users: number;
  lastUse: number;
  /** Whether others may have its memory at once. */
  isFree: boolean;
}

export interface SlotActions<Unit> {
  /** The slot is to get the unit. */
  fill(slot: number, unit: Unit): void;
  /** The slot no longer has it. */
  empty(slot: number, unit: Unit): void;
}

/**
 * Where there is no room, the unit goes whose last use is the longest ago, one that was given back before others. It is there until then: if it
 * is used again sooner, it need not be gathered.
 */
export class UnitSlots<Unit> {
  readonly #slots: Slot<Unit>[];
  readonly #actions: SlotActions<Unit>;
  /** What is to come next as soon as there is room. */
  #wanted: Unit | undefined;
  #uses = 0;

  constructor(count: number, actions: SlotActions<Unit>) {
    this.#slots = Array.from({ length: count }, (_, index) => ({ index, unit: undefined, users: 0, lastUse: 0, isFree: true }));
    this.#actions = actions;
  }

  /** The units come next, in this order. Empty slots get them at once; for the next one room is made when `prefetch` has nothing else. */
  unshard(units: readonly Unit[]): void {
    const own = this.#slots.filter(({ unit }) => unit !== undefined && units.includes(unit));
    for (const slot of own) slot.isFree = false;
    for (const unit of units) {
      if (this.#slotOf(unit)) continue;
      if (this.#slots.every(({ unit: other }) => other !== undefined)) {
        this.#wanted = unit;
        return;
      }
      this.#make(unit);
    }
  }

  /** The units have no use for the time being. */
  reshard(units: readonly Unit[]): void {
    for (const slot of this.#slots) if (slot.unit !== undefined && units.includes(slot.unit)) slot.isFree = true;
    if (this.#wanted !== undefined && units.includes(this.#wanted)) this.#wanted = undefined;
  }

  /** The slot that has the unit, which stays there until `done`. */
  use(unit: Unit): number {
    const slot = this.#slotOf(unit) ?? this.#make(unit);
    if (!slot) throw new Error('internal: all slots of gathered weights are in use');
    slot.users += 1;
    slot.isFree = false;
    slot.lastUse = this.#uses += 1;
    return slot.index;
  }

  /** The slot whose use is over. */
  done(unit: Unit): number {
    const slot = this.#slotOf(unit);
    if (!slot) throw new Error('internal: a unit that is done with is not gathered');
    slot.users -= 1;
    return slot.index;
  }

  /** The unit will be used soon; without one, the next that was announced. */
  prefetch(unit: Unit | undefined): void {
    const next = unit ?? this.#wanted;
    if (next !== undefined && !this.#slotOf(next)) this.#make(next);
  }

  forget(): void {
    this.#wanted = undefined;
    for (const slot of this.#slots) this.#empty(slot);
  }

  #slotOf(unit: Unit): Slot<Unit> | undefined {
    return this.#slots.find((slot) => slot.unit === unit);
  }

  #make(unit: Unit): Slot<Unit> | undefined {
    const [slot] = this.#slots
      .filter(({ users }) => users === 0)
      .sort((a, b) => Number(b.isFree) - Number(a.isFree) || a.lastUse - b.lastUse);
    if (!slot) return undefined;
    this.#empty(slot);
    slot.unit = unit;
    slot.isFree = false;
    if (this.#wanted === unit) this.#wanted = undefined;
    this.#actions.fill(slot.index, unit);
    return slot;
  }

  #empty(slot: Slot<Unit>): void {
    if (slot.unit === undefined) return;
    this.#actions.empty(slot.index, slot.unit);
    slot.unit = undefined;
    slot.isFree = true;
    slot.lastUse = 0;
  }
}
