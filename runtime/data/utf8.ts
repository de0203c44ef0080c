// Decodes UTF-8 that arrives in chunks and says at which byte it is broken, which TextDecoder does not.
import { isUtf8 } from 'node:buffer';

/** Thrown with the offset of the first byte that can't be read, counted from the first byte pushed. */
export class Utf8Error extends Error {
  readonly offset: number;
  constructor(offset: number) {
    super(`byte ${offset} is not UTF-8`);
    this.offset = offset;
  }
}

/** Keeps the bytes of a character that a chunk ends within for the next one. A byte order mark at the very beginning is dropped. */
export class Utf8Reader {
  #carry: Buffer = Buffer.alloc(0);
  /** Offset of the first byte of the carry. */
  #offset = 0;

  push(chunk: Uint8Array): string {
    const bytes =
      this.#carry.length === 0 ? Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length) : Buffer.concat([this.#carry, chunk]);
    return this.#read(bytes, bytes.length - unfinishedTail(bytes));
  }

  /** Throws Utf8Error if the last character is incomplete. */
  end(): string {
    return this.#read(this.#carry, this.#carry.length);
  }

  #read(bytes: Buffer, length: number): string {
    const whole = bytes.subarray(0, length);
    if (!isUtf8(whole)) throw new Utf8Error(this.#offset + firstInvalid(whole));
    const skip = this.#offset === 0 && whole[0] === 0xef && whole[1] === 0xbb && whole[2] === 0xbf ? 3 : 0;
    this.#carry = Buffer.from(bytes.subarray(length));
    this.#offset += length;
    return whole.toString('utf8', skip);
  }
}

/** Bytes at the end that begin a character without ending it: 0 to 3. */
function unfinishedTail(bytes: Uint8Array): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back]!;
    if ((byte & 0xc0) === 0x80) continue;
    const needed = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return needed > back ? back : 0;
  }
  return 0;
}

/** The longest valid prefix, by halving: a prefix that ends within a character may count as invalid, so its tail is left off. */
function firstInvalid(bytes: Uint8Array): number {
  let valid = 0;
  let broken = bytes.length;
  while (broken - valid > 1) {
    const middle = (valid + broken) >> 1;
    const prefix = bytes.subarray(valid, middle);
    const whole = prefix.subarray(0, prefix.length - unfinishedTail(prefix));
    if (!isUtf8(whole)) broken = middle;
    else if (whole.length === 0) return firstInvalidNear(bytes, valid);
    else valid += whole.length;
  }
  return firstInvalidNear(bytes, valid);
}

/** `from` starts a character; the next few characters hold the fault. */
function firstInvalidNear(bytes: Uint8Array, from: number): number {
  for (let at = from; at < bytes.length;) {
    const size = [1, 2, 3, 4].find((size) => at + size <= bytes.length && isUtf8(bytes.subarray(at, at + size)));
    if (size === undefined) return at;
    at += size;
  }
  return bytes.length;
}
