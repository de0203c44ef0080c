// Feeds a target one wrong input after the other, and stops at the first that does anything but be taken or refused.
import { Chance, mutated } from './mutate.ts';
import type { OpenTarget } from './targets.ts';

export interface FuzzLimits {
  /** Ends after so many inputs, or when `isOver` says so. */
  readonly inputs: number;
  readonly isOver: () => boolean;
  readonly seed: number;
}

interface Finding {
  readonly input: Uint8Array;
  readonly thrown: unknown;
}

export interface FuzzResult {
  readonly inputs: number;
  /** How many of them were taken. */
  readonly taken: number;
  readonly slowestMs: number;
  readonly finding?: Finding;
}

/** The seeds themselves come first: each must be taken. */
export async function fuzz(target: OpenTarget, { inputs, isOver, seed }: FuzzLimits): Promise<FuzzResult> {
  let count = 0;
  let taken = 0;
  let slowestMs = 0;
  for (; count < inputs && !isOver(); count += 1) {
    const own = target.seeds[count];
    const input = own ?? mutated(target.seeds, new Chance(seed + count));
    const begun = performance.now();
    try {
      const isTaken = await target.feed(input);
      if (own && !isTaken) throw new Error('a seed was refused');
      taken += Number(isTaken);
    } catch (thrown) {
      return { inputs: count + 1, taken, slowestMs, finding: { input, thrown } };
    }
    slowestMs = Math.max(slowestMs, performance.now() - begun);
  }
  return { inputs: count, taken, slowestMs };
}
