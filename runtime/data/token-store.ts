// A stream of token ids on disk, read a window at a time.
import { closeSync, openSync, readSync } from 'node:fs';
import { WindlassError } from '#runtime/api/errors.ts';

export interface TokenStore {
  /** Tokens in all. */
  readonly length: number;
  /** Fills `into` with the tokens from `start` on. Throws RangeError beyond the ends. */
  read(start: number, into: Int32Array): void;
  /** Frees what the store holds; it can't be read after. */
  close(): void;
}

/** Opens a file of little-endian ids of `width` bytes. A read takes microseconds: the file lies in the page cache. */
export function openTokenFile(path: string, length: number, width: 2 | 4): TokenStore {
  const descriptor = openSync(path, 'r');
  let bytes = Buffer.alloc(0);
  let open = true;
  return {
    length,
    read(start, into) {
      if (start < 0 || start + into.length > length) {
        throw new RangeError(`tokens ${start} to ${start + into.length} of ${length}`);
      }
      const size = into.length * width;
      if (bytes.length < size) bytes = Buffer.alloc(size);
      for (let done = 0; done < size;) {
        const read = readSync(descriptor, bytes, done, size - done, start * width + done);
        if (read === 0) throw new WindlassError('WL_IO', `${path} ends before token ${length}`, { details: { path } });
        done += read;
      }
      for (let i = 0; i < into.length; i++) into[i] = width === 2 ? bytes.readUInt16LE(i * 2) : bytes.readInt32LE(i * 4);
    },
    close() {
      if (open) closeSync(descriptor);
      open = false;
    },
  };
}

/** A store over ids in memory. */
export function tokenStoreOf(tokens: ArrayLike<number>): TokenStore {
  const ids = Int32Array.from(tokens);
  return {
    length: ids.length,
    read(start, into) {
      if (start < 0 || start + into.length > ids.length) {
        throw new RangeError(`tokens ${start} to ${start + into.length} of ${ids.length}`);
      }
      into.set(ids.subarray(start, start + into.length));
    },
    close() {},
  };
}
