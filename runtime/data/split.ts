// Divides a token stream into training and held-out segments that share no token.
import { WindlassError } from '#runtime/api/errors.ts';

/** Tokens [start, end) of the stream. */
export interface Segment {
  readonly start: number;
  readonly end: number;
}

export interface Split {
  readonly training: readonly Segment[];
  readonly heldOut: readonly Segment[];
}

/** Held-out text comes in blocks of about this many tokens from all over the stream, so that it is like the training text. */
const blockTokens = 4096;

/**
 * Cuts the stream into as many equal parts as there are held-out blocks and holds out the end of each. Depends on nothing but its
 * arguments. A window of `length` inputs needs `length + 1` tokens; every block and every training part has room for one.
 * Throws WL_DATA_EMPTY naming the tokens there are and the tokens needed.
 */
export function splitHeldOut(tokens: number, fraction: number, length: number): Split {
  const window = length + 1;
  const needed = fraction > 0 ? 2 * window : window;
  const tooFew = (): never => {
    throw new WindlassError(
      'WL_DATA_EMPTY',
      `the data has ${tokens} tokens; one training window of ${window} tokens${fraction > 0 ? ' and one to hold out' : ''} need at least ${needed}`,
      { details: { tokens, needed } },
    );
  };
  if (tokens < needed) tooFew();
  if (fraction <= 0) return { training: [{ start: 0, end: tokens }], heldOut: [] };
  const heldOutTokens = Math.min(Math.max(Math.round(fraction * tokens), window), tokens - window);
  let blocks = Math.max(1, Math.floor(heldOutTokens / Math.max(blockTokens, window)));
  // Each part must keep a window for training too.
  while (blocks > 1 && Math.floor(tokens / blocks) - Math.ceil(heldOutTokens / blocks) < window) blocks--;
  const training: Segment[] = [];
  const heldOut: Segment[] = [];
  for (let block = 0; block < blocks; block++) {
    const start = Math.floor((tokens * block) / blocks);
    const end = Math.floor((tokens * (block + 1)) / blocks);
    const size = Math.floor((heldOutTokens * (block + 1)) / blocks) - Math.floor((heldOutTokens * block) / blocks);
    training.push({ start, end: end - size });
    heldOut.push({ start: end - size, end });
  }
  return { training, heldOut };
}
