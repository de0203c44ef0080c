// Loopback addresses for pods and services: each gets its own 127.x.y.z, so ports never collide on one machine.
import { createHash } from 'node:crypto';

/** Second octet of the first range of each kind; instances take one of the 100 ranges from there on, away from 127.0/16 that other programs use. */
const firstRange = { pod: 16, service: 128 } as const;
const ranges = 100;

/** Hands out addresses and takes them back. Deterministic: the lowest free one; known ones are claimed first. */
export class AddressPool {
  readonly #prefix: string;
  readonly #byOwner = new Map<string, string>();
  readonly #used = new Set<string>();

  /** `instance` tells instances on one machine apart: different ones mostly get different ranges. */
  constructor(kind: keyof typeof firstRange, instance: string) {
    const range = createHash('sha256').update(instance).digest().readUInt32LE() % ranges;
    this.#prefix = `127.${firstRange[kind] + range}`;
  }

  /** The address of `owner`; `wanted` (from an earlier life) is kept if it is of this pool and free. */
  claim(owner: string, wanted?: string): string {
    const known = this.#byOwner.get(owner);
    if (known) return known;
    const address = wanted?.startsWith(`${this.#prefix}.`) && !this.#used.has(wanted) ? wanted : this.#lowestFree();
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
  }

  #lowestFree(): string {
    for (let number = 1; number < 65_535; number += 1) {
      const address = `${this.#prefix}.${number >> 8}.${number & 255}`;
      if (!this.#used.has(address) && (number & 255) !== 255 && (number & 255) !== 0) return address;
    }
    throw new Error('internal: all 65,000 loopback addresses are in use');
  }
}
