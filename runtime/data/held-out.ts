// The held-out windows that a model is evaluated on: always the same ones, evenly spread.
import { WindlassError } from '#runtime/api/errors.ts';
import { readWindows } from './sampler.ts';
import type { Batch } from './sampler.ts';
import type { Segment } from './split.ts';
import type { TokenStore } from './token-store.ts';

/** Reads at most `sequences` windows of the held-out segments, none overlapping, in batches of at most `batchSequences`. */
export function* heldOutBatches(
  store: TokenStore,
  segments: readonly Segment[],
  options: { readonly length: number; readonly sequences: number; readonly batchSequences: number },
): Generator<Batch> {
  const { length, sequences, batchSequences } = options;
  const starts: number[] = [];
  for (const { start, end } of segments) for (let at = start; at + length < end; at += length) starts.push(at);
  const count = Math.min(sequences, starts.length);
  const chosen = Array.from({ length: count }, (_, i) => starts[Math.floor((i * starts.length) / count)]!);
  for (let at = 0; at < count; at += batchSequences) yield readWindows(store, chosen.slice(at, at + batchSequences), length);
}

/** Tokens that `unigramEntropy` reads at a time. */
const sliceTokens = 16 * 1024;

/**
 * Entropy of the tokens of the segments under their own frequencies, in nats per token: the loss of the best model that knows nothing but how
 * often each token occurs there. Throws WL_DATA_EMPTY without tokens.
 */
export function unigramEntropy(store: TokenStore, segments: readonly Segment[], vocabularySize: number): number {
  const counts = new Float64Array(vocabularySize);
  let total = 0;
  for (const { start, end } of segments) {
    for (let at = start; at < end; at += sliceTokens) {
      const slice = new Int32Array(Math.min(sliceTokens, end - at));
      store.read(at, slice);
      for (const token of slice) counts[token]!++;
      total += slice.length;
    }
  }
  if (total === 0) throw new WindlassError('WL_DATA_EMPTY', 'there are no held-out tokens');
  return -counts.reduce((sum, count) => (count === 0 ? sum : sum + (count / total) * Math.log(count / total)), 0);
}
