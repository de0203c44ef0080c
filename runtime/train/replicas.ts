// Compares what several ranks hold of the same: weights and moments must agree to the bit, or memory or a processor is faulty.
import { crc32 } from 'node:zlib';
import { WindlassError } from '#runtime/api/errors.ts';
import type { PieceState } from '#runtime/parallel/main.ts';
import type { Talk } from './together.ts';

/** What a rank says of a piece: what it is, and a checksum of weights and moments. */
export type PieceDigest = readonly [piece: string, crc32: number];

/** All ranks call it after the same step. Throws WL_REPLICAS_DIFFER on all of them, naming piece and ranks. */
export async function compareReplicas(pieces: readonly PieceState[], talk: Talk | undefined, step: number): Promise<void> {
  if (!talk) return;
  const own: PieceDigest[] = [];
  for (const { piece, replicas, weight, first, second } of pieces) {
    if (replicas === 1) continue;
    let sum = 0;
    for (const tensor of [weight, first, second]) sum = crc32(new Uint8Array((await tensor.read()).buffer), sum);
    const { spec, box } = piece.entry;
    own.push([`${spec.name}[${box.offsets.join(',')}] elements ${piece.begin} to ${piece.end}`, sum]);
  }
  const all = (await talk.allGather(JSON.stringify(own))).map((text) => JSON.parse(text) as PieceDigest[]);
  const fault = findDifference(all);
  if (fault) throw new WindlassError('WL_REPLICAS_DIFFER', `after step ${step}: ${fault}`, { details: { step } });
}

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
