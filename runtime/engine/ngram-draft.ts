// Guesses how a text goes on from what stands in it already: the tokens that followed the last few ones where they stood before.

export interface NgramOptions {
  /** Fewest and most of the last tokens that must stand earlier in the text. */
  readonly least: number;
  readonly most: number;
}

/**
 * Up to `count` tokens that followed the earliest place at which as many as possible of the last tokens stand. Empty if fewer than `least` do.
 * The earliest place has the longest continuation, which matters where a text repeats itself. Linear in the length: the prefix
 * function of Knuth, Morris and Pratt over the reversed text, cut at `most`.
 */
export function draftByNgram(tokens: readonly number[], count: number, { least, most }: NgramOptions): readonly number[] {
  const length = tokens.length;
  if (count <= 0 || length <= least) return [];
  const at = (fromEnd: number) => tokens[length - 1 - fromEnd]!;
  const borders = new Int32Array(Math.min(most, length));
  let best = 0;
  let bestEnd = 0;
  let matched = 0;
  for (let i = 1; i < length; i += 1) {
    const token = at(i);
    if (matched === most) matched = borders[matched - 1]!;
    while (matched > 0 && at(matched) !== token) matched = borders[matched - 1]!;
    if (at(matched) === token) matched += 1;
    if (i < borders.length) borders[i] = matched;
    if (matched >= best && matched > 0) {
      best = matched;
      bestEnd = i;
    }
  }
  if (best < least) return [];
  // The match takes the tokens bestEnd - best + 1 ... bestEnd from the end; what follows it begins one nearer to the end.
  const next = length - 1 - (bestEnd - best);
  return tokens.slice(next, Math.min(length, next + count));
}
