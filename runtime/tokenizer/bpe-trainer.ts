// Learns the merges of byte-pair encoding from word counts: the most frequent pair first, of equals the one with the lowest ids.
import { PairTable } from './pair-table.ts';

export interface BpeTraining {
  /** Left, right and new id of each merge, in order. */
  readonly merges: number[];
  /** Symbols of each id that was made. */
  readonly made: Map<number, string>;
}

/** A pair that was seen `count` times when it was queued, in the words listed. */
interface Candidate {
  readonly left: number;
  readonly right: number;
  count: number;
  readonly words: number[];
}

export interface BpeTrainerInput {
  /** Symbol strings by id, before any merge: special tokens, then the alphabet. */
  readonly symbols: readonly string[];
  /** Each word as ids, and how often it was seen. */
  readonly words: Int32Array[];
  readonly counts: readonly number[];
  readonly vocabularySize: number;
}

/**
 * Trains as the reference implementation does (pairs are queued with the words they were found in, their counts corrected when they
 * come up), so merges are equal to its merges. A generator: it yields the number of tokens known after every merge, and once per
 * thousand words while it counts.
 */
export function* trainBpe({ symbols, words, counts, vocabularySize }: BpeTrainerInput): Generator<number, BpeTraining, void> {
  const ids = new Map(symbols.map((symbol, id) => [symbol, id]));
  const strings = [...symbols];
  const lengths = Int32Array.from(words, (word) => word.length);
  const pairs = new PairTable();
  const pairCounts: number[] = [];
  const queue = new CandidateQueue();
  const merges: number[] = [];
  const made = new Map<number, string>();
  const found = new Map<number, Candidate>();

  /** Adds to the count of a pair; a pair that became more frequent is to be queued again with this word. */
  const change = (left: number, right: number, difference: number, word: number): void => {
    let slot = pairs.find(left, right);
    if (slot === -1) {
      pairs.set(left, right, pairCounts.push(0) - 1, 0);
      slot = pairs.find(left, right);
    }
    const pair = pairs.valueAt(slot);
    pairCounts[pair]! += difference;
    if (difference < 0) return;
    let candidate = found.get(pair);
    if (!candidate) found.set(pair, (candidate = { left, right, count: 0, words: [] }));
    if (candidate.words.at(-1) !== word) candidate.words.push(word);
  };
  const queueFound = (): void => {
    for (const [pair, candidate] of found) {
      candidate.count = pairCounts[pair]!;
      if (candidate.count > 0) queue.push(candidate);
    }
    found.clear();
  };

  for (const [word, symbolsOfWord] of words.entries()) {
    for (let i = 0; i + 1 < symbolsOfWord.length; i++) change(symbolsOfWord[i]!, symbolsOfWord[i + 1]!, counts[word]!, word);
    if (word % 1000 === 999) yield strings.length;
  }
  queueFound();

  while (strings.length < vocabularySize) {
    const top = queue.pop();
    if (!top) break;
    const { left, right } = top;
    const current = pairCounts[pairs.valueAt(pairs.find(left, right))]!;
    if (current < 1) continue;
    if (current !== top.count) {
      top.count = current;
      queue.push(top);
      continue;
    }
    const text = strings[left]! + strings[right]!;
    let merged = ids.get(text);
    if (merged === undefined) {
      merged = strings.push(text) - 1;
      ids.set(text, merged);
      made.set(merged, text);
    }
    merges.push(left, right, merged);
    for (const word of top.words)
      lengths[word] = mergeInWord(words[word]!, lengths[word]!, left, right, merged, counts[word]!, word, change);
    queueFound();
    yield strings.length;
  }
  return { merges, made };
}

/** Replaces each (left, right) of a word, from the left, and reports the pairs that went and came. Returns the new length. */
function mergeInWord(
  symbols: Int32Array,
  length: number,
  left: number,
  right: number,
  merged: number,
  count: number,
  word: number,
  change: (left: number, right: number, difference: number, word: number) => void,
): number {
  let kept = 0;
  for (let i = 0; i < length; i++) {
    if (symbols[i] !== left || i + 1 >= length || symbols[i + 1] !== right) {
      symbols[kept++] = symbols[i]!;
      continue;
    }
    if (kept > 0) {
      change(symbols[kept - 1]!, left, -count, word);
      change(symbols[kept - 1]!, merged, count, word);
    }
    if (i + 2 < length) {
      change(right, symbols[i + 2]!, -count, word);
      change(merged, symbols[i + 2]!, count, word);
    }
    symbols[kept++] = merged;
    i++;
  }
  return kept;
}

/** A binary heap: highest count first, then lowest left id, then lowest right id. */
class CandidateQueue {
  readonly #heap: Candidate[] = [];

  push(candidate: Candidate): void {
    const heap = this.#heap;
    let child = heap.length;
    heap.push(candidate);
    while (child > 0) {
      const parent = (child - 1) >> 1;
      if (!comesBefore(candidate, heap[parent]!)) break;
      heap[child] = heap[parent]!;
      child = parent;
    }
    heap[child] = candidate;
  }

  pop(): Candidate | undefined {
    const heap = this.#heap;
    const top = heap[0];
    const moved = heap.pop();
    if (!moved || heap.length === 0) return top;
    let parent = 0;
    for (;;) {
      let child = 2 * parent + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && comesBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!comesBefore(heap[child]!, moved)) break;
      heap[parent] = heap[child]!;
      parent = child;
    }
    heap[parent] = moved;
    return top;
  }
}

function comesBefore(a: Candidate, b: Candidate): boolean {
  if (a.count !== b.count) return a.count > b.count;
  if (a.left !== b.left) return a.left < b.left;
  return a.right < b.right;
}
