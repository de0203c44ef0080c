// Copies the values that a save writes out of the memory that training goes on to change, in waves that fit a buffer used again and again.
import type { PlannedChunk } from './save-plan.ts';

export interface StagedChunk {
  readonly chunk: PlannedChunk;
  readonly values: Promise<Float32Array>;
}

export class Staging {
  readonly #most: number;
  #buffer = new Float32Array(0);

  /** `bytes`: size of the buffer; a single chunk that is larger still gets what it needs. */
  constructor(bytes: number) {
    this.#most = bytes / 4;
  }

  /**
   * The chunks by waves. The copies of a wave are enqueued when it is asked for, and its values hold until the next one is. `onLast` is
   * called when all copies are enqueued: the next training step, enqueued after that, can't tear them.
   */
  *waves(chunks: readonly PlannedChunk[], onLast: () => void): Generator<readonly StagedChunk[], void> {
    const total = chunks.reduce((sum, { begin, end }) => sum + end - begin, 0);
    const largest = chunks.reduce((most, { begin, end }) => Math.max(most, end - begin), 0);
    const size = Math.min(total, Math.max(this.#most, largest));
    // One buffer for all saves: new memory for each would pile up between garbage collections.
    if (this.#buffer.length < size) this.#buffer = new Float32Array(size);
    for (let next = 0; next < chunks.length;) {
      const wave: StagedChunk[] = [];
      for (let used = 0; next < chunks.length; next += 1) {
        const chunk = chunks[next]!;
        const length = chunk.end - chunk.begin;
        if (used + length > size) break;
        const values = chunk.from.tensor.read(this.#buffer.subarray(used, used + length), chunk.begin);
        // Whoever writes the chunk sees a failed copy; those that are not reached must not end the process.
        values.catch(() => {});
        wave.push({ chunk, values });
        used += length;
      }
      if (next === chunks.length) onLast();
      yield wave;
    }
    if (chunks.length === 0) onLast();
  }
}
