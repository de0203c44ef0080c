// Appends to a file in the background, in order; a full disk holds nobody up: what can't be written waits in memory and is tried again.
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { toWindlassError } from '#runtime/api/errors.ts';
import type { WindlassError } from '#runtime/api/errors.ts';

/** What is appended while this much waits for room on the disk is dropped. */
const maxWaitingBytes = 8 << 20;

export class AppendFile {
  readonly #handle: FileHandle;
  readonly #onTrouble: (error: WindlassError) => void;
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #writing: Promise<void> | undefined;
  #isTroubled = false;

  private constructor(handle: FileHandle, onTrouble: (error: WindlassError) => void) {
    this.#handle = handle;
    this.#onTrouble = onTrouble;
  }

  /** Opens or creates the file. `onTrouble` hears of the first write that failed since the last one that went well. */
  static async open(path: string, onTrouble: (error: WindlassError) => void): Promise<AppendFile> {
    return new AppendFile(await open(path, 'a'), onTrouble);
  }

  /** Takes the bytes and returns at once. */
  append(bytes: Uint8Array): void {
    if (this.#waitingBytes + bytes.length > maxWaitingBytes) return;
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    void this.flush();
  }

  /** Resolves when everything is handed to the operating system, or could not be. Never rejects. */
  flush(): Promise<void> {
    if (this.#waitingBytes === 0) return Promise.resolve();
    return (this.#writing ??= this.#write());
  }

  async close(): Promise<void> {
    await this.flush();
    await this.#handle.close();
  }

  async #write(): Promise<void> {
    try {
      while (this.#waitingBytes > 0) {
        const bytes = Buffer.concat(this.#waiting);
        this.#waiting = [bytes];
        const { bytesWritten } = await this.#handle.write(bytes);
        this.#waiting[0] = bytes.subarray(bytesWritten);
        this.#waitingBytes -= bytesWritten;
      }
      this.#isTroubled = false;
    } catch (error) {
      if (!this.#isTroubled) this.#onTrouble(toWindlassError(error));
      this.#isTroubled = true;
    } finally {
      this.#writing = undefined;
    }
  }
}
