// Memory that the units of a rank take in turns for their gradients: what one gives back, the next one takes.

/** By number of elements; nothing of a size is made while some of it is free. Pure, so that a plan can count what a rank will make. */
export class BufferPool<T extends { readonly elements: number }> {
  readonly #make: (elements: number) => T;
  readonly #free = new Map<number, T[]>();
  #late: readonly T[] = [];

  constructor(make: (elements: number) => T) {
    this.#make = make;
  }

  /** What has been free for the longest time. */
  take(elements: number): T {
    return this.#free.get(elements)?.shift() ?? this.#make(elements);
  }

  give(buffer: T): void {
    const same = this.#free.get(buffer.elements) ?? [];
    same.push(buffer);
    this.#free.set(buffer.elements, same);
  }

  /** Gives back what is still being read: it is left alone until others are given back this way, so that whoever takes it need not wait. */
  giveLate(buffers: readonly T[]): void {
    for (const buffer of this.#late) this.give(buffer);
    this.#late = buffers;
  }

  /** What is still being read need not be left alone any longer. */
  settle(): void {
    this.giveLate([]);
  }
}
