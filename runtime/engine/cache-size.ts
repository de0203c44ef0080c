// How many blocks the key-value cache gets. Pure.
import { WindlassError } from '#runtime/api/errors.ts';

export interface CacheWishes {
  /** Asked for; undefined: as much as is of use. */
  readonly cacheBytes?: number | undefined;
  readonly bytesPerToken: number;
  readonly blockSize: number;
  readonly contextLength: number;
  readonly maxSequences: number;
  readonly freeBytes: number;
}

const mostByDefault = 1024 ** 3;
const shareOfFreeMemory = 0.25;

/**
 * Number of blocks: at least what one sequence of full length needs. Throws WL_MANIFEST_INVALID if `cacheBytes` is less than that.
 */
export function planCache(wishes: CacheWishes): number {
  const { cacheBytes, bytesPerToken, blockSize, contextLength, maxSequences, freeBytes } = wishes;
  const blockBytes = bytesPerToken * blockSize;
  const blocksOfOne = Math.ceil(contextLength / blockSize);
  if (cacheBytes !== undefined) {
    const blocks = Math.floor(cacheBytes / blockBytes);
    if (blocks >= blocksOfOne) return blocks;
    throw new WindlassError(
      'WL_MANIFEST_INVALID',
      `spec.engine.cacheBytes: ${cacheBytes} bytes; one sequence of ${contextLength} tokens needs ${blocksOfOne * blockBytes}: give it that, a shorter contextLength, or a smaller cacheType`,
    );
  }
  const bytes = Math.min(mostByDefault, freeBytes * shareOfFreeMemory);
  return Math.max(blocksOfOne, Math.min(blocksOfOne * maxSequences, Math.floor(bytes / blockBytes)));
}
