// A shuffled order without a stored list: a bijection of [0, size) keyed by seed and epoch.

const rounds = 6;

/** Mixes integers to 32 bits (the finaliser of MurmurHash3 over each in turn). Integers up to 2^53 count with all their bits. */
export function mix(...values: readonly number[]): number {
  let hash = 0x9e3779b9;
  for (const value of values) {
    for (const part of [value >>> 0, Math.floor(value / 2 ** 32) >>> 0]) {
      hash = Math.imul(hash ^ part, 0x85ebca6b);
      hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
      hash ^= hash >>> 16;
    }
  }
  return hash >>> 0;
}

/**
 * Place of `index` in a shuffled order of [0, size): a balanced Feistel network over the next even power of two, walked until it
 * falls inside (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002). At most four steps are expected.
 */
export function permute(index: number, size: number, seed: number, epoch: number): number {
  if (size <= 1) return 0;
  const half = 2 ** Math.ceil(Math.log2(size) / 2);
  let place = index;
  do {
    let left = Math.floor(place / half);
    let right = place % half;
    for (let round = 0; round < rounds; round++) {
      [left, right] = [right, (left + (mix(seed, epoch, round, right) % half)) % half];
    }
    place = left * half + right;
  } while (place >= size);
  return place;
}
