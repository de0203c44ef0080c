// How long a world waits before it starts again.
const firstDelayMs = 200;
const longestDelayMs = 30_000;

/** Doubles from 200 ms to 30 s with each fault since the last progress. */
export function restartDelay(faultsInARow: number): number {
  return Math.min(firstDelayMs * 2 ** faultsInARow, longestDelayMs);
}
