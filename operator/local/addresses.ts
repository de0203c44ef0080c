// Loopback addresses for pods and services: each gets its own 127.x.y.z, so ports never collide on one machine.
import { createHash } from 'node:crypto';

/** Lowest second octet of each kind; there are 100 from there on, away from 127.0/16 that other programs use. */
const firstOctet = { pod: 16, service: 128 } as const;
const octets = 100;
const size = 65_536;

/** Hands out addresses and takes them back. Deterministic: the first free one from where the instance begins; known ones are claimed first. */
export class AddressPool {
  readonly #prefix: string;
  readonly #begin: number;
  readonly #byOwner = new Map<string, string>();
  readonly #used = new Set<string>();
  /** Places from `begin` on before which none is free. */
  #full = 1;

  /** `instance` tells instances on one machine apart: each begins at one of 25,600 places, so that two hardly ever meet. */
  constructor(kind: keyof typeof firstOctet, instance: string) {
    const hash = createHash('sha256').update(instance).digest();
    this.#prefix = `127.${firstOctet[kind] + (hash.readUInt32LE() % octets)}`;
    this.#begin = hash.readUInt8(4) * 256;
  }

  /** The address of `owner`; `wanted` (from an earlier life) is kept if it is of this pool and free. */
  claim(owner: string, wanted?: string): string {
    const known = this.#byOwner.get(owner);
    if (known) return known;
    const address = wanted?.startsWith(`${this.#prefix}.`) && !this.#used.has(wanted) ? wanted : this.#firstFree();
    this.#byOwner.set(owner, address);
    this.#used.add(address);
    return address;
  }

  /** Another address for `owner`, whose present one somebody else uses. */
  replace(owner: string): string {
    this.#byOwner.delete(owner);
    return this.claim(owner);
  }

  release(owner: string): void {
    const address = this.#byOwner.get(owner);
    if (!address) return;
    this.#byOwner.delete(owner);
    this.#used.delete(address);
    const [high, low] = address.split('.').slice(2).map(Number) as [number, number];
    this.#full = Math.min(this.#full, (high * 256 + low - this.#begin + size) % size);
  }

  #firstFree(): string {
    for (; this.#full < size; this.#full += 1) {
      const number = (this.#begin + this.#full) % size;
      const address = `${this.#prefix}.${number >> 8}.${number & 255}`;
      if (!this.#used.has(address) && (number & 255) !== 255 && (number & 255) !== 0) return address;
    }
    throw new Error('internal: all 65,000 loopback addresses are in use');
  }
}
