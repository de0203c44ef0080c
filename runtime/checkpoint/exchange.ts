// How the ranks of a job agree about a checkpoint: each says something, all learn what everybody said.

export interface Exchange {
  readonly rank: number;
  readonly size: number;
  /**
   * What every rank said, by rank. All ranks call it equally often; the nth calls belong together. Rejects when a rank is lost or silent for
   * too long.
   */
  allGather(text: string): Promise<string[]>;
}

/** A job of one rank. */
export const alone: Exchange = { rank: 0, size: 1, allGather: (text) => Promise.resolve([text]) };
