// Chooses the training windows of every step: shuffled, each once per epoch, and a pure function of seed and step, so that resuming needs no state.
import { WindlassError } from '#runtime/api/errors.ts';
import { mix, permute } from './permutation.ts';
import type { Segment } from './split.ts';
import type { TokenStore } from './token-store.ts';

/** Rows of `length` tokens each; `targets` are the inputs one token later. */
export interface Batch {
  readonly sequences: number;
  readonly length: number;
  /** [sequences * length] */
  readonly inputs: Int32Array;
  /** [sequences * length] */
  readonly targets: Int32Array;
}

export interface SamplerOptions {
  readonly seed: number;
  readonly sequences: number;
  readonly length: number;
}

export interface Sampler {
  /** Windows of an epoch. */
  readonly windows: number;
  /** Batch of a step, counted from 0: sequences [step * sequences, (step + 1) * sequences) of the endless order. */
  batch(step: number): Batch;
  /** Epochs that are over before a step; not a whole number within an epoch. */
  epoch(step: number): number;
}

/** From this many windows on, a segment gives one less than fits, so that the windows of each epoch can begin somewhere else. */
const windowsToSpareOne = 8;

interface WindowedSegment {
  readonly start: number;
  /** First window of the segment in the numbering of all windows. */
  readonly firstWindow: number;
  readonly windows: number;
  /** Tokens that the windows of an epoch may be shifted by. */
  readonly slack: number;
}

/**
 * Samples windows of `length + 1` tokens from the segments. In an epoch each window comes once, in an order keyed by (seed, epoch); windows of a
 * segment follow each other without a gap, from an offset that is drawn anew for each epoch. Throws WL_DATA_EMPTY if no window fits.
 */
export function createSampler(store: TokenStore, segments: readonly Segment[], options: SamplerOptions): Sampler {
  const { seed, sequences, length } = options;
  const windowed: WindowedSegment[] = [];
  let windows = 0;
  for (const { start, end } of segments) {
    const fitting = Math.floor((end - start - 1) / length);
    if (fitting < 1) continue;
    const used = fitting >= windowsToSpareOne ? fitting - 1 : fitting;
    windowed.push({ start, firstWindow: windows, windows: used, slack: end - start - 1 - used * length });
    windows += used;
  }
  if (windows === 0) {
    const longest = Math.max(0, ...segments.map(({ start, end }) => end - start));
    throw new WindlassError(
      'WL_DATA_EMPTY',
      `the longest training part has ${longest} tokens; a window of length ${length} needs ${length + 1}`,
      { details: { tokens: longest, needed: length + 1 } },
    );
  }

  const startOf = (sequence: number): number => {
    const epoch = Math.floor(sequence / windows);
    const window = permute(sequence % windows, windows, seed, epoch);
    const segment = segmentOf(windowed, window);
    const shift = mix(seed, epoch, segment.start, 0x0ff5e7) % (segment.slack + 1);
    return segment.start + shift + (window - segment.firstWindow) * length;
  };
  return {
    windows,
    epoch: (step) => (step * sequences) / windows,
    batch: (step) =>
      readWindows(
        store,
        Array.from({ length: sequences }, (_, row) => startOf(step * sequences + row)),
        length,
      ),
  };
}

function segmentOf(segments: readonly WindowedSegment[], window: number): WindowedSegment {
  let low = 0;
  let high = segments.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (segments[middle]!.firstWindow <= window) low = middle;
    else high = middle - 1;
  }
  return segments[low]!;
}

/** Reads the windows that start at the tokens given. */
export function readWindows(store: TokenStore, starts: readonly number[], length: number): Batch {
  const inputs = new Int32Array(starts.length * length);
  const targets = new Int32Array(starts.length * length);
  const window = new Int32Array(length + 1);
  for (const [row, start] of starts.entries()) {
    store.read(start, window);
    inputs.set(window.subarray(0, length), row * length);
    targets.set(window.subarray(1), row * length);
  }
  return { sequences: starts.length, length, inputs, targets };
}
