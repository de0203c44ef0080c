// Collects the compute actions of one rank and numbers the grains of each stage in increasing order.
import type { ComputeType, GrainAction } from '#runtime/api/schedule/action.ts';

/** Counts a stage's forwards, input gradients and weight gradients apart; a full backward counts as both. */
export class Program {
  readonly actions: GrainAction[] = [];
  readonly #grains: number;
  readonly #forwards = new Map<number, number>();
  readonly #inputs = new Map<number, number>();
  readonly #weights = new Map<number, number>();
  /** Stages of the weight gradients that were left for later, oldest first. */
  readonly #waiting: number[] = [];

  /** Grains beyond the last are counted, but not written: a step shorter than the pattern leaves gaps in it. */
  constructor(grains: number) {
    this.#grains = grains;
  }

  forward(stage: number): void {
    this.#add('forward', stage, next(this.#forwards, stage));
  }

  backward(stage: number): void {
    next(this.#weights, stage);
    this.#add('backward', stage, next(this.#inputs, stage));
  }

  /** Leaves the weight gradient for later. */
  backwardInput(stage: number): void {
    this.#waiting.push(stage);
    this.#add('backwardInput', stage, next(this.#inputs, stage));
  }

  /** The oldest weight gradient that waits, of any stage; nothing, if none waits. */
  backwardWeight(): void {
    const stage = this.#waiting.shift();
    if (stage !== undefined) this.#add('backwardWeight', stage, next(this.#weights, stage));
  }

  /** All weight gradients that wait. */
  backwardWeights(): void {
    while (this.#waiting.length > 0) this.backwardWeight();
  }

  #add(type: ComputeType, stage: number, grain: number): void {
    if (grain < this.#grains) this.actions.push({ type, stage, grain });
  }
}

/** Calls `step` that many times. */
export function repeat(times: number, step: (index: number) => void): void {
  for (let index = 0; index < times; index += 1) step(index);
}

function next(counts: Map<number, number>, stage: number): number {
  const grain = counts.get(stage) ?? 0;
  counts.set(stage, grain + 1);
  return grain;
}
