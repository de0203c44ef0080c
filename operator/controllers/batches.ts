// Carries out many actions of the same kind at once, without sending them all into a refusal that holds for each of them.

/** So many at once at first: a small job is made in one step, and a quota that is used up is asked in vain only so often. */
const firstBatch = 8;

/**
 * Runs `act` for eight items at once, and for each that succeeds goes on with two more, so that what is under way doubles with each answer of
 * the API. Begins no further one when one has failed, waits for those that run, and throws what the first of them threw.
 */
export async function inBatches<T>(items: readonly T[], act: (item: T) => Promise<unknown>): Promise<void> {
  const waiting = items.values();
  let failed: { reason: unknown } | undefined;
  const lane = async (): Promise<void> => {
    const opened: Promise<void>[] = [];
    for (let next = waiting.next(); !next.done; next = waiting.next()) {
      try {
        await act(next.value);
      } catch (reason) {
        failed ??= { reason };
      }
      if (failed) break;
      opened.push(lane());
    }
    await Promise.all(opened);
  };
  await Promise.all(Array.from({ length: firstBatch }, lane));
  if (failed) throw failed.reason;
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
