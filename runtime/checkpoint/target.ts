// Where the values of chunks go: straight to memory where they lie in one piece there, else through a copy of the range until all of it is there.
import { copyRuns, elementsOf, isOneRun } from './box.ts';
import type { Box } from './box.ts';
import type { Place } from './disk.ts';
import type { ShardMemory } from './shard.ts';

/** `part` of a chunk has its place in the row-major box `piece`, which begins at element `at` of the target. */
export interface PlacedPart {
  readonly part: Box;
  readonly piece: Box;
  readonly at: number;
}

export class Target {
  readonly #memory: Pick<ShardMemory, 'write'>;
  readonly #elements: number;
  #parts = 0;
  #isScattered = false;
  #values: Float32Array | undefined;

  constructor(memory: Pick<ShardMemory, 'write'>, elements: number) {
    this.#memory = memory;
    this.#elements = elements;
  }

  /** Says that such a part will be put. */
  expect(part: Box, piece: Box): void {
    this.#parts += 1;
    this.#isScattered ||= !isOneRun(part, piece);
  }

  /** Where the values of a chunk go if all of them go there in one piece: they need not be `put` then. */
  placeOf({ part, piece, at }: PlacedPart, chunk: Box): Place | undefined {
    const elements = elementsOf(chunk.sizes);
    if (this.#isScattered || elementsOf(part.sizes) < elements) return undefined;
    const [first] = copyRuns(part, chunk, piece).take(1);
    return { memory: this.#memory, offset: at + (first?.target ?? 0), elements };
  }

  /** Takes the values of a part out of those of its chunk. */
  put({ part, piece, at }: PlacedPart, chunk: Box, values: Float32Array): void {
    if (this.#isScattered) {
      this.#values ??= new Float32Array(this.#elements);
      copyPart(part, chunk, values, piece, this.#values.subarray(at));
    } else {
      const [first] = copyRuns(part, chunk, piece).take(1);
      const elements = elementsOf(part.sizes);
      let packed = values.subarray(first?.source, (first?.source ?? 0) + elements);
      if (!isOneRun(part, chunk)) copyPart(part, chunk, values, part, (packed = new Float32Array(elements)));
      this.#memory.write(packed, at + (first?.target ?? 0));
    }
    this.#parts -= 1;
    if (this.#parts > 0 || !this.#values) return;
    this.#memory.write(this.#values, 0);
    this.#values = undefined;
  }
}

function copyPart(part: Box, from: Box, values: Float32Array, to: Box, into: Float32Array): void {
  for (const { source, target, length } of copyRuns(part, from, to)) into.set(values.subarray(source, source + length), target);
}
