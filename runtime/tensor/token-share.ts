// Sums over tokens where each rank of a group has a part of every sequence.
import type { Tape } from './tape.ts';

export interface TokenShare {
  /** Here is 1 / share of the positions of each sequence (1, 2, 4 or 8): sums over tokens are those of that part, to be added up over ranks. */
  readonly share?: number;
}

/** Most spans of a contraction that one rank computes alone. */
export const allSpans = 8;

/** Tokens of each sequence that are here, and the most spans that sums over them have. */
export function localTokens(tape: Tape, { share = 1 }: TokenShare): { readonly length: number; readonly spans: number } {
  return { length: tape.length / share, spans: allSpans / share };
}
