// Merging the symbols of one word: always the pair of lowest rank, the leftmost first, until no pair of the table is left.
import type { PairTable } from './pair-table.ts';

/** Up to this many symbols the lowest rank is found by looking at all pairs; beyond, by a heap, so that long words stay O(n log n). */
const scanLimit = 48;

/** Merges `symbols[0..length)` in place and returns the new length. `merges` holds (rank, merged id) per pair. */
export function mergeSymbols(symbols: Int32Array, length: number, merges: PairTable): number {
  return length <= scanLimit ? mergeByScan(symbols, length, merges) : mergeByHeap(symbols, length, merges);
}

const ranks = new Int32Array(scanLimit);
const merged = new Int32Array(scanLimit);
const noRank = 0x7fffffff;

function mergeByScan(symbols: Int32Array, length: number, merges: PairTable): number {
  const look = (i: number): void => {
    const slot = merges.find(symbols[i]!, symbols[i + 1]!);
    if (slot === -1) {
      ranks[i] = noRank;
      return;
    }
    ranks[i] = merges.valueAt(slot);
    merged[i] = merges.secondAt(slot);
  };
  for (let i = 0; i + 1 < length; i++) look(i);
  while (length > 1) {
    let best = 0;
    for (let i = 1; i + 1 < length; i++) if (ranks[i]! < ranks[best]!) best = i;
    if (ranks[best] === noRank) break;
    symbols[best] = merged[best]!;
    symbols.copyWithin(best + 1, best + 2, length);
    ranks.copyWithin(best + 1, best + 2, length - 1);
    merged.copyWithin(best + 1, best + 2, length - 1);
    length--;
    if (best > 0) look(best - 1);
    if (best + 1 < length) look(best);
  }
  return length;
}

/** Candidates in a binary heap ordered by (rank, position); a candidate is stale when the pair at its position has another rank now. */
function mergeByHeap(symbols: Int32Array, length: number, merges: PairTable): number {
  const next = new Int32Array(length);
  const previous = new Int32Array(length);
  // Each merge takes one pair away and offers at most two new ones.
  const heapRanks = new Int32Array(3 * length);
  const heapPositions = new Int32Array(3 * length);
  let size = 0;

  const push = (position: number): void => {
    const following = next[position]!;
    if (following === -1) return;
    const slot = merges.find(symbols[position]!, symbols[following]!);
    if (slot === -1) return;
    const rank = merges.valueAt(slot);
    let child = size++;
    while (child > 0) {
      const parent = (child - 1) >> 1;
      if (!before(rank, position, heapRanks[parent]!, heapPositions[parent]!)) break;
      heapRanks[child] = heapRanks[parent]!;
      heapPositions[child] = heapPositions[parent]!;
      child = parent;
    }
    heapRanks[child] = rank;
    heapPositions[child] = position;
  };

  const removeTop = (): void => {
    size--;
    const rank = heapRanks[size]!;
    const position = heapPositions[size]!;
    let parent = 0;
    for (;;) {
      let child = 2 * parent + 1;
      if (child >= size) break;
      if (child + 1 < size && before(heapRanks[child + 1]!, heapPositions[child + 1]!, heapRanks[child]!, heapPositions[child]!))
        child++;
      if (!before(heapRanks[child]!, heapPositions[child]!, rank, position)) break;
      heapRanks[parent] = heapRanks[child]!;
      heapPositions[parent] = heapPositions[child]!;
      parent = child;
    }
    heapRanks[parent] = rank;
    heapPositions[parent] = position;
  };

  for (let i = 0; i < length; i++) {
    previous[i] = i - 1;
    next[i] = i + 1 < length ? i + 1 : -1;
  }
  for (let i = 0; i + 1 < length; i++) push(i);
  const more = (): boolean => size > 0;
  while (more()) {
    const rank = heapRanks[0]!;
    const position = heapPositions[0]!;
    removeTop();
    if (symbols[position] === -1) continue;
    const following = next[position]!;
    if (following === -1) continue;
    const slot = merges.find(symbols[position]!, symbols[following]!);
    if (slot === -1 || merges.valueAt(slot) !== rank) continue;
    symbols[position] = merges.secondAt(slot);
    symbols[following] = -1;
    const after = next[following]!;
    next[position] = after;
    if (after !== -1) previous[after] = position;
    if (previous[position] !== -1) push(previous[position]!);
    push(position);
  }
  let kept = 0;
  for (let i = 0; i !== -1; i = next[i]!) symbols[kept++] = symbols[i]!;
  return kept;
}

function before(rankA: number, positionA: number, rankB: number, positionB: number): boolean {
  return rankA < rankB || (rankA === rankB && positionA < positionB);
}
