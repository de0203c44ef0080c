// What is told of bytes that come or go: how many, how fast over the newest seconds, how long still, and what stands in the way.
import { WindlassError } from '#runtime/api/errors.ts';
import type { Transfer } from '#runtime/api/messages.ts';

/** Shortest time between two tellings. */
const tellEveryMs = 500;
const speedWindowMs = 10_000;

export class TransferMeter {
  readonly #tell: (transfer: Transfer) => void;
  readonly #now: () => number;
  /** Oldest first. */
  readonly #marks: { time: number; bytes: number }[] = [];
  #told = -Infinity;
  #trouble: string | undefined;
  #newest: Pick<Transfer, 'bytes' | 'totalBytes'> = { bytes: 0 };

  /** `now`: milliseconds from any fixed point. */
  constructor(tell: (transfer: Transfer) => void, now: () => number) {
    this.#tell = tell;
    this.#now = now;
  }

  /** So many bytes are over. */
  moved(bytes: number, totalBytes: number | undefined): void {
    const time = this.#now();
    if (bytes > this.#newest.bytes) this.#trouble = undefined;
    // A file that begins anew says nothing about speed.
    if (bytes < this.#newest.bytes) this.#marks.length = 0;
    this.#newest = { bytes, ...(totalBytes === undefined ? {} : { totalBytes }) };
    const isLast = bytes === totalBytes;
    if (time - this.#told < tellEveryMs && !isLast) return;
    this.#marks.push({ time, bytes });
    while (this.#marks.length > 2 && time - this.#marks[0]!.time > speedWindowMs) this.#marks.shift();
    this.#say(time);
  }

  /** It is tried again in so many milliseconds, for this reason. */
  setBack(words: string, pauseMs: number): void {
    this.#trouble = `${words}; tried again in ${Math.ceil(pauseMs / 1000)} s`.slice(0, 1024);
    this.#say(this.#now());
  }

  #say(time: number): void {
    this.#told = time;
    const trouble = this.#trouble === undefined ? {} : { trouble: this.#trouble };
    this.#tell({ ...this.#newest, ...this.#speed(), ...trouble });
  }

  #speed(): Pick<Transfer, 'bytesPerSecond' | 'etaSeconds'> {
    const [first, last] = [this.#marks[0], this.#marks.at(-1)];
    if (!first || !last || last.time === first.time) return {};
    const speed = ((last.bytes - first.bytes) / (last.time - first.time)) * 1000;
    const { bytes, totalBytes } = this.#newest;
    const isKnown = totalBytes !== undefined && speed > 0;
    return { bytesPerSecond: Math.round(speed), ...(isKnown ? { etaSeconds: Math.round((totalBytes - bytes) / speed) } : {}) };
  }
}

/** What stands in a spec as `sha256:...`, in hexadecimal. */
export function hexDigest(digest: string): string {
  const [, hex] = /^sha256:([0-9a-f]{64})$/.exec(digest) ?? [];
  if (hex === undefined)
    throw new WindlassError('WL_MANIFEST_INVALID', `${digest} is no digest: sha256: and 64 hexadecimal digits`);
  return hex;
}
