// The words that somebody may have meant who typed another one. Pure.

const shown = 3;

/** Words that begin with or contain `word`, or are few changes away from it; the nearest first. */
export function nearest(word: string, words: readonly string[]): string[] {
  const wanted = plain(word);
  const limit = Math.max(2, Math.floor(wanted.length / 3));
  return words
    .map((candidate) => ({ candidate, distance: distanceTo(wanted, plain(candidate)) }))
    .filter(({ distance }) => distance <= limit)
    .toSorted((a, b) => a.distance - b.distance || a.candidate.localeCompare(b.candidate))
    .slice(0, shown)
    .map(({ candidate }) => candidate);
}

function plain(word: string): string {
  return word
    .toLowerCase()
    .replace(/^wl_/, '')
    .replaceAll(/[^a-z0-9]/g, '');
}

function distanceTo(wanted: string, candidate: string): number {
  return wanted.length > 2 && candidate.includes(wanted) ? 0 : editDistance(wanted, candidate);
}

/** Letters to change, add or leave out (Levenshtein). */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (const [i, letter] of [...a].entries()) {
    const next = [i + 1];
    for (let j = 0; j < b.length; j++) {
      next.push(Math.min(next[j]! + 1, row[j + 1]! + 1, row[j]! + (letter === b[j] ? 0 : 1)));
    }
    row = next;
  }
  return row[b.length]!;
}
