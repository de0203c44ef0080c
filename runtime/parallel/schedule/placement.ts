// Which rank holds which stage.

/** Stage s lies on rank s mod p: a loop around the ranks, once per chunk. */
export function loopPlacement(ranks: number, stagesPerRank: number): number[] {
  return Array.from({ length: ranks * stagesPerRank }, (_, stage) => stage % ranks);
}

/** Two stages per rank, down the ranks and up again: the last rank holds the two in the middle, rank 0 the first and the last. */
export function vPlacement(ranks: number): number[] {
  return Array.from({ length: 2 * ranks }, (_, stage) => Math.min(stage, 2 * ranks - 1 - stage));
}
