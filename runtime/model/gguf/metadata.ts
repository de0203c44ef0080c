// Reads the metadata of a GGUF file key by key: typed, within limits, and naming the key that is wrong.
import { WindlassError } from '#runtime/api/errors.ts';
import type { TextTable } from '#runtime/api/text-table.ts';
import { isSize, sizeWords } from '../families/check-config.ts';
import type { GgufFile } from './file.ts';
import { arrayNumbers, arrayTexts } from './header.ts';
import type { GgufArray, GgufScalar } from './header.ts';

const integerTypes: ReadonlySet<string> = new Set(['u8', 'i8', 'u16', 'i16', 'u32', 'i32', 'u64', 'i64', 'bool']);

/** The file as far as its metadata goes. */
type Head = Pick<GgufFile, 'path' | 'head' | 'metadata'>;

export class MetadataReader {
  readonly #file: Head;

  constructor(file: Head) {
    this.#file = file;
  }

  has(key: string): boolean {
    return this.#file.metadata.has(key);
  }

  text(key: string, fallback?: string): string {
    const value = this.#scalar(key)?.value ?? fallback;
    if (typeof value !== 'string') throw this.fault(key, 'a text');
    return value;
  }

  optionalText(key: string): string | undefined {
    return this.has(key) ? this.text(key) : undefined;
  }

  flag(key: string, fallback: boolean): boolean {
    const value = this.#scalar(key)?.value ?? fallback;
    if (typeof value !== 'boolean') throw this.fault(key, 'true or false');
    return value;
  }

  /**
   * A number >= `min`. One of type f32 is given as the shortest decimal that stands for it: what the file's maker meant by
   * 9.999999747378752e-6 was 1e-5.
   */
  number(key: string, fallback?: number, min = 0): number {
    const entry = this.#scalar(key);
    const value = entry?.value ?? fallback;
    if (typeof value !== 'number' || !Number.isFinite(value) || value < min) throw this.fault(key, `a number from ${min}`);
    return entry?.type === 'f32' ? shortest(value) : value;
  }

  /** A whole number from 1 to 2^31 - 1, or to `most`. */
  size(key: string, fallback?: number, most?: number): number {
    const value = this.#scalar(key)?.value ?? fallback;
    if (!isSize(value, most)) throw this.fault(key, sizeWords(most));
    return value;
  }

  tokenId(key: string): number | undefined {
    const value = this.#scalar(key)?.value;
    if (value === undefined) return undefined;
    if (!Number.isSafeInteger(value) || Number(value) < 0) throw this.fault(key, 'a token id');
    return Number(value);
  }

  /** Refuses any value but absence and those in `allowed`. */
  refuse(key: string, allowed: readonly unknown[] = []): void {
    const entry = this.#file.metadata.get(key);
    if (!entry || (entry.type !== 'array' && allowed.includes(entry.value))) return;
    throw this.fault(
      key,
      allowed.length === 0 ? 'absent: it is not supported' : `${allowed.join(' or ')}: nothing else is supported`,
    );
  }

  /** At most `limit` strings; undefined if the key is absent. */
  texts(key: string, limit: number): TextTable | undefined {
    const array = this.#array(key, limit);
    if (!array) return undefined;
    if (array.items !== 'string') throw this.fault(key, 'a list of strings');
    return arrayTexts(this.#file.head, array, this.#file.path);
  }

  /** At most `limit` whole numbers; undefined if the key is absent. */
  integers(key: string, limit: number): Int32Array | undefined {
    const array = this.#array(key, limit);
    if (!array) return undefined;
    if (!integerTypes.has(array.items)) throw this.fault(key, 'a list of whole numbers');
    if (array.items === 'i32') return new Int32Array(this.#bytesOf(array));
    return Int32Array.from(arrayNumbers(this.#file.head, array, this.#file.path));
  }

  /** At most `limit` numbers; undefined if the key is absent. */
  floats(key: string, limit: number): Float32Array | undefined {
    const array = this.#array(key, limit);
    if (!array) return undefined;
    if (array.items === 'string') throw this.fault(key, 'a list of numbers');
    if (array.items === 'f32') return new Float32Array(this.#bytesOf(array));
    return Float32Array.from(arrayNumbers(this.#file.head, array, this.#file.path));
  }

  /** A copy, as items may lie at odd places of the file. */
  #bytesOf({ begin, end }: GgufArray): ArrayBuffer {
    return Uint8Array.from(this.#file.head.subarray(begin, end)).buffer;
  }

  fault(key: string, wanted: string): WindlassError {
    const entry = this.#file.metadata.get(key);
    const found = !entry ? 'absent' : entry.type === 'array' ? `a list of ${entry.count}` : shown(entry.value);
    return new WindlassError('WL_MODEL_INVALID', `${this.#file.path}: ${key} is ${found} but must be ${wanted}`, {
      details: { file: this.#file.path, path: key },
    });
  }

  #scalar(key: string): GgufScalar | undefined {
    const entry = this.#file.metadata.get(key);
    if (entry?.type === 'array') throw this.fault(key, 'a single value');
    return entry;
  }

  #array(key: string, limit: number): GgufArray | undefined {
    const entry = this.#file.metadata.get(key);
    if (!entry) return undefined;
    if (entry.type !== 'array') throw this.fault(key, 'a list');
    if (entry.count > limit) throw this.fault(key, `one of at most ${limit}`);
    return entry;
  }
}

function shown(value: GgufScalar['value']): string {
  return typeof value === 'string' ? JSON.stringify(value.slice(0, 200)) : String(value);
}

function shortest(value: number): number {
  for (let digits = 1; digits < 9; digits += 1) {
    const decimal = Number(value.toPrecision(digits));
    if (Math.fround(decimal) === value) return decimal;
  }
  return value;
}
