// Makes wrong inputs of right ones: by a seed, so that every input can be made again.

/** A generator of numbers below 2^32 (xorshift32): the same for the same seed. */
export class Chance {
  #state: number;

  constructor(seed: number) {
    this.#state = (seed ^ 0x9e3779b9) >>> 0 || 1;
  }

  /** A whole number below `limit`. */
  below(limit: number): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x >>> 0;
    return this.#state % limit;
  }

  of<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new Error('internal: nothing to choose from');
    return item;
  }
}

/** Numbers at the edges of what counts, lengths and offsets may be. */
const edges: readonly bigint[] = [
  0n,
  1n,
  2n,
  31n,
  255n,
  65_535n,
  2n ** 31n - 1n,
  2n ** 32n - 1n,
  2n ** 32n,
  2n ** 53n,
  2n ** 63n,
  2n ** 64n - 1n,
];
const words = [
  '{',
  '}',
  '[',
  ']',
  '"',
  '\\u0000',
  '\ud83d',
  '-1',
  '1e999',
  'null',
  '9007199254740993',
  '\r\n',
  '%}',
  '{{',
  '{%',
  '__proto__',
];

const jsonValues = ['-1', '0', '1e999', '4294967296', 'null', 'true', '""', '"x"', '[]', '{}', '[[]]', '{"a":1}'];

/** The first value of JSON in a text, and where it begins. */
function lexeme(text: string): [string, number] {
  const found = /"[^"\n]*"(?!:)|-?\d[\d.eE+-]*|true|false|null|\[\]|\{\}/.exec(text);
  return [found?.[0] ?? '', found?.index ?? 0];
}

type Mutation = (bytes: Uint8Array, chance: Chance, others: readonly Uint8Array[]) => Uint8Array;

const mutations: readonly Mutation[] = [
  (bytes, chance) => bytes.with(chance.below(bytes.length), chance.below(256)),
  (bytes, chance) => {
    const at = chance.below(bytes.length);
    return bytes.with(at, bytes[at]! ^ (1 << chance.below(8)));
  },
  (bytes, chance) => {
    const number = Buffer.alloc(8);
    number.writeBigUInt64LE(chance.of(edges));
    return overwritten(bytes, chance.below(bytes.length), number.subarray(0, chance.of([1, 2, 4, 8])));
  },
  (bytes, chance) => bytes.slice(0, chance.below(bytes.length)),
  (bytes, chance) => replaced(bytes, chance.below(bytes.length), 1 + chance.below(16), new Uint8Array(0)),
  (bytes, chance) => replaced(bytes, chance.below(bytes.length), 0, Buffer.from(chance.of(words))),
  (bytes, chance) => replaced(bytes, chance.below(bytes.length), 0, new Uint8Array(chance.below(64)).fill(chance.below(256))),
  (bytes, chance) => {
    const at = chance.below(bytes.length);
    return replaced(bytes, at, 0, bytes.subarray(at, at + 1 + chance.below(64)));
  },
  (bytes, chance) => {
    const from = chance.below(bytes.length);
    const [token, index] = lexeme(Buffer.from(bytes.subarray(from)).toString('latin1'));
    return token === '' ? bytes : replaced(bytes, from + index, token.length, Buffer.from(chance.of(jsonValues)));
  },
  (bytes, chance, others) => {
    const other = chance.of(others);
    const from = chance.below(other.length);
    return replaced(bytes, chance.below(bytes.length), chance.below(32), other.subarray(from, from + 1 + chance.below(64)));
  },
];

/** One of `seeds` with one to eight changes. */
export function mutated(seeds: readonly Uint8Array[], chance: Chance): Uint8Array {
  let bytes = chance.of(seeds);
  for (let left = 1 + chance.below(8); left > 0 && bytes.length > 0; left -= 1)
    bytes = chance.of(mutations)(bytes, chance, seeds);
  return bytes;
}

function overwritten(bytes: Uint8Array, at: number, patch: Uint8Array): Uint8Array {
  const changed = Uint8Array.from(bytes);
  changed.set(patch.subarray(0, changed.length - at), at);
  return changed;
}

function replaced(bytes: Uint8Array, at: number, length: number, patch: Uint8Array): Uint8Array {
  return Buffer.concat([bytes.subarray(0, at), patch, bytes.subarray(at + length)]);
}
