// Compares what several ranks hold of the same: weights and moments must agree to the bit, or memory or a processor is faulty.

/** What a rank says of a piece: what it is, and a digest of weights and moments. */
export type PieceDigest = readonly [piece: string, digest: number];

/** In words, the first piece on which ranks differ and which of them stand alone; undefined if there is none. By rank, what each says. */
export function findDifference(all: readonly (readonly PieceDigest[])[]): string | undefined {
  const ranksByPiece = new Map<string, Map<number, number[]>>();
  for (const [rank, digests] of all.entries()) {
    for (const [piece, sum] of digests) {
      const ranks = ranksByPiece.get(piece) ?? new Map<number, number[]>();
      ranksByPiece.set(piece, ranks.set(sum, [...(ranks.get(sum) ?? []), rank]));
    }
  }
  for (const [piece, bySum] of ranksByPiece) {
    if (bySum.size === 1) continue;
    const camps = [...bySum.values()].sort((a, b) => b.length - a.length);
    const [most = [], ...others] = camps;
    const isClear = most.length > (others[0]?.length ?? 0);
    const odd = isClear ? others.flat() : camps.flat();
    const words = isClear ? `${ranksOf(odd)} differs from ${ranksOf(most)}` : `${camps.map(ranksOf).join(' and ')} differ`;
    return `${words} in ${piece}`;
  }
  return undefined;
}

function ranksOf(ranks: readonly number[]): string {
  return `rank${ranks.length === 1 ? '' : 's'} ${ranks.join(', ')}`;
}
