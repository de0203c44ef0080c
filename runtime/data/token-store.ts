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

/** A file that is read at any place, at once: a mapping, or a descriptor. */
export interface ReadableFile {
  /** Fills `into` with the bytes from `offset` on, or throws. */
  read(offset: number, into: Uint8Array): void;
  close(): void;
}

/** Reads through a descriptor: a read takes microseconds while the file lies in the page cache. */
export function openDescriptor(path: string): ReadableFile {
  const descriptor = openSync(path, 'r');
  return {
    read(offset, into) {
      for (let done = 0; done < into.length;) {
        const read = readSync(descriptor, into, done, into.length - done, offset + done);
        if (read === 0)
          throw new WindlassError('WL_IO', `${path} ends before byte ${offset + into.length}`, { details: { path } });
        done += read;
      }
    },
    close: () => closeSync(descriptor),
  };
}

/** A store over a file of little-endian ids of `width` bytes; it closes the file. */
export function tokenStoreOfFile(file: ReadableFile, length: number, width: 2 | 4): TokenStore {
  let bytes = Buffer.alloc(0);
  let open = true;
  return {
    length,
    read(start, into) {
      checkRange(start, into.length, length);
      const size = into.length * width;
      if (bytes.length < size) bytes = Buffer.alloc(size);
      file.read(start * width, bytes.subarray(0, size));
      for (let i = 0; i < into.length; i++) into[i] = width === 2 ? bytes.readUInt16LE(i * 2) : bytes.readInt32LE(i * 4);
    },
    close() {
      if (open) file.close();
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
      checkRange(start, into.length, ids.length);
      into.set(ids.subarray(start, start + into.length));
    },
    close() {},
  };
}

function checkRange(start: number, count: number, length: number): void {
  if (start < 0 || start + count > length) throw new RangeError(`tokens ${start} to ${start + count} of ${length}`);
}
