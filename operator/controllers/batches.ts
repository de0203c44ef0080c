// Carries out many actions of the same kind at once, without sending them all into a refusal that holds for each of them.

/**
 * Runs `act` for one item, then for two at once, four, and so on: Kubernetes' own way with the pods of a Job. Ends with the first batch in
 * which one fails, when all of that batch have ended, and throws what the first of them threw.
 */
export async function inBatches<T>(items: readonly T[], act: (item: T) => Promise<unknown>): Promise<void> {
  for (let begin = 0, size = 1; begin < items.length; begin += size, size *= 2) {
    const ended = await Promise.allSettled(items.slice(begin, begin + size).map(act));
    const failed = ended.find((end) => end.status === 'rejected');
    if (failed) throw failed.reason;
  }
}

/** Neighbours of the same kind together, in their order. */
export function runsOf<T>(items: readonly T[], kindOf: (item: T) => string): T[][] {
  const runs: T[][] = [];
  for (const item of items) {
    const run = runs.at(-1);
    if (run && kindOf(run[0]!) === kindOf(item)) run.push(item);
    else runs.push([item]);
  }
  return runs;
}
