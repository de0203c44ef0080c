// The beginning of a file that is being fetched: what is on disk of it, and what has to be true of the server for the rest to fit.
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { z } from 'zod';

const Origin = z.object({
  url: z.string(),
  /** Strong ETag, or Last-Modified, of the answers that the bytes are from. */
  validator: z.string().min(1),
});

/**
 * Two processes may write the same part, should one be thought dead that was only slow: both write the same bytes to the same places, as the server
 * vouches by the validator. Whoever has other bytes begins with another file.
 */
export class Part {
  readonly path: string;
  readonly #url: string;
  #file: FileHandle | undefined;
  #hash = createHash('sha256');
  #bytes = 0;
  #validator: string | undefined;
  #pieces = 0;

  private constructor(path: string, url: string) {
    this.path = path;
    this.#url = url;
  }

  /** What an earlier process left at `path` of the same address, if `resume`; else nothing. */
  static async open(path: string, url: string, resume: boolean): Promise<Part> {
    const part = new Part(path, url);
    const origin = resume ? await readOrigin(path) : undefined;
    if (origin?.url === url) await part.#continue(origin.validator);
    return part;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get validator(): string | undefined {
    return this.#validator;
  }

  /** Whether it was put together from several answers. */
  get isPieced(): boolean {
    return this.#pieces > 1;
  }

  async #continue(validator: string): Promise<void> {
    try {
      this.#file = await open(this.path, 'r+');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      throw error;
    }
    for await (const chunk of createReadStream(this.path, { highWaterMark: 1 << 20 })) {
      this.#hash.update(chunk as Buffer);
      this.#bytes += (chunk as Buffer).length;
    }
    this.#validator = validator;
    this.#pieces = 1;
  }

  /** Another answer goes on with it. */
  goOn(): void {
    this.#pieces += 1;
  }

  /** Forgets all bytes: an answer begins at the first one. */
  async begin(validator: string | undefined): Promise<void> {
    await this.#file?.close();
    await rm(this.path, { force: true });
    this.#file = await open(this.path, 'wx+');
    this.#forget(validator);
    const origin = originOf(this.path);
    if (validator === undefined) await rm(origin, { force: true });
    else {
      await writeFile(`${origin}.new`, JSON.stringify({ url: this.#url, validator }), { flush: true });
      await rename(`${origin}.new`, origin);
    }
  }

  #forget(validator?: string): void {
    this.#hash = createHash('sha256');
    [this.#bytes, this.#pieces, this.#validator] = [0, 1, validator];
  }

  async append(chunk: Uint8Array): Promise<void> {
    for (let written = 0; written < chunk.byteLength;) {
      const { bytesWritten } = await this.#file!.write(chunk, written, chunk.byteLength - written, this.#bytes + written);
      written += bytesWritten;
    }
    this.#hash.update(chunk);
    this.#bytes += chunk.byteLength;
  }

  /** sha256 of all bytes, in hexadecimal. */
  digest(): string {
    return this.#hash.copy().digest('hex');
  }

  /** Makes it durable and gives it its name. */
  async finish(path: string): Promise<void> {
    await this.#file!.sync();
    await this.close();
    await rename(this.path, path);
    await rm(originOf(this.path), { force: true });
  }

  /** Leaves nothing of it. */
  async discard(): Promise<void> {
    await this.close();
    await rm(originOf(this.path), { force: true });
    await rm(this.path, { force: true });
    this.#forget();
  }

  async close(): Promise<void> {
    await this.#file?.close();
    this.#file = undefined;
  }
}

const originOf = (path: string): string => `${path}.origin`;

async function readOrigin(path: string): Promise<z.output<typeof Origin> | undefined> {
  try {
    return Origin.parse(JSON.parse(await readFile(originOf(path), 'utf8')));
  } catch {
    // Missing or cut off by a kill: then nobody knows what the bytes are of.
    return undefined;
  }
}
