// Reads the keys of a config.json one by one: typed, with the defaults of the format, and refusing by name what is not supported.
import { WindlassError } from '#runtime/api/errors.ts';
import { isSize, sizeWords } from './check-config.ts';

export class ConfigReader {
  readonly #json: Readonly<Record<string, unknown>>;
  readonly #file: string;

  constructor(json: Readonly<Record<string, unknown>>, file: string) {
    this.#json = json;
    this.#file = file;
  }

  /** A number >= `min`; absent or null gives `fallback`. */
  number(key: string, fallback?: number, min = 0): number {
    const value = this.#json[key] ?? fallback;
    if (typeof value !== 'number' || !Number.isFinite(value) || value < min) throw this.fault(key, `a number from ${min}`);
    return value;
  }

  /** A whole number from 1 to 2^31 - 1, or to `most`; absent or null gives `fallback`. */
  size(key: string, fallback?: number, most?: number): number {
    const value = this.#json[key] ?? fallback;
    if (!isSize(value, most)) throw this.fault(key, sizeWords(most));
    return value;
  }

  flag(key: string, fallback: boolean): boolean {
    const value = this.#json[key] ?? fallback;
    if (typeof value !== 'boolean') throw this.fault(key, 'true or false');
    return value;
  }

  /** One of the keys of `values`; gives what stands there. */
  choice<T>(key: string, fallback: string, values: Readonly<Record<string, T>>): T {
    const value = this.#json[key] ?? fallback;
    if (typeof value !== 'string' || !Object.hasOwn(values, value)) throw this.fault(key, Object.keys(values).join(' or '));
    return values[value] as T;
  }

  /** Token ids: a number, a list, or nothing. */
  tokenIds(key: string, fallback: readonly number[]): readonly number[] {
    const value = this.#json[key];
    if (value === undefined) return fallback;
    const ids: unknown[] = value === null ? [] : Array.isArray(value) ? value : [value];
    if (!ids.every((id): id is number => Number.isSafeInteger(id) && (id as number) >= 0)) throw this.fault(key, 'token ids');
    return ids;
  }

  /** Refuses any value but absence, null and those in `allowed`. */
  refuse(key: string, allowed: readonly unknown[] = []): void {
    const value = this.#json[key];
    if (value === undefined || value === null || allowed.includes(value)) return;
    throw this.fault(
      key,
      allowed.length === 0 ? 'absent: it is not supported' : `${allowed.join(' or ')}: nothing else is supported`,
    );
  }

  has(key: string): boolean {
    return this.#json[key] !== undefined && this.#json[key] !== null;
  }

  /** Whether it says null, which for some keys is not what leaving it out is. */
  isNull(key: string): boolean {
    return this.#json[key] === null;
  }

  list(key: string): readonly unknown[] | undefined {
    if (!this.has(key)) return undefined;
    const value = this.#json[key];
    if (!Array.isArray(value)) throw this.fault(key, 'a list');
    return value;
  }

  record(key: string): Readonly<Record<string, unknown>> | undefined {
    const value = this.#json[key];
    if (value === undefined || value === null) return undefined;
    if (typeof value !== 'object' || Array.isArray(value)) throw this.fault(key, 'an object');
    return value as Record<string, unknown>;
  }

  fault(key: string, wanted: string): WindlassError {
    const found = JSON.stringify(this.#json[key]) ?? 'absent';
    return new WindlassError('WL_MODEL_INVALID', `${this.#file}: ${key} is ${found.slice(0, 200)} but must be ${wanted}`, {
      details: { file: this.#file, path: key },
    });
  }
}
