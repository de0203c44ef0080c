// Chooses the pods of the next world: all of them, or in an elastic job a power-of-two share of those that are there.

export interface WorldRule {
  /** Number of pods of the job. */
  readonly pods: number;
  /** Smallest and largest world; both equal `pods` where the job is not elastic. */
  readonly min: number;
  readonly max: number;
}

/** Largest allowed world of at most `present` ranks: pods / 2^k within [min, max]; undefined: too few are there. */
export function largestWorld(rule: WorldRule, present: number): number | undefined {
  for (let size = rule.pods; size >= rule.min; size /= 2) {
    if (size <= present && size <= rule.max) return size;
    if (size % 2 === 1) break;
  }
  return undefined;
}

/**
 * The pods of the next world in the order of their ranks (lowest indices first); undefined: wait. A world that is smaller than the largest
 * allowed one is made only when those who are there have waited in vain for `windowMs`.
 */
export function chooseWorld(
  rule: WorldRule,
  present: readonly number[],
  waitedMs: number,
  windowMs: number,
): readonly number[] | undefined {
  const size = largestWorld(rule, present.length);
  if (size === undefined) return undefined;
  if (size < (largestWorld(rule, rule.pods) ?? rule.pods) && waitedMs < windowMs) return undefined;
  return present.toSorted((a, b) => a - b).slice(0, size);
}
