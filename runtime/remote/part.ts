// The beginning of a file that is being fetched: what is on disk of it, and what has to be true of the server for the rest to fit.
import { createHash, randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { z } from 'zod';

/** Beside the file that it is a part of: where the bytes are, and what they are from. */
const Origin = z.object({
  url: z.string(),
  /** Strong ETag, or Last-Modified, of the answers that the bytes are from. */
  validator: z.string().min(1),
  /** Name of the file that holds them. */
  bytes: z.string().regex(/^[^/]+\.part-[0-9a-f]{16}$/),
});

/**
 * Two processes may be at it, should one be thought dead that was only slow. Who goes on with the bytes of the other writes the same bytes to the
 * same places, as the server vouches by the validator; who begins anew does so in a file of another name. So what gets the name of the whole file is
 * what was held against the digest.
 */
export class Part {
  /** Of the whole file. */
  readonly #target: string;
  readonly #url: string;
  #path: string | undefined;
  #file: FileHandle | undefined;
  #hash = createHash('sha256');
  #bytes = 0;
  #validator: string | undefined;
  #pieces = 0;

  private constructor(target: string, url: string) {
    this.#target = target;
    this.#url = url;
  }

  /** What an earlier process left of `target` from the same address, if `resume`; else nothing. `onRead`: so much of it is read. */
  static async open(target: string, url: string, resume: boolean, onRead: (bytes: number) => void): Promise<Part> {
    const part = new Part(target, url);
    const origin = resume ? await readOrigin(target) : undefined;
    const known = origin?.url === url ? origin : undefined;
    for (const name of await readdir(dirname(target))) {
      const isPart = name.startsWith(`${basename(target)}.part-`);
      if (isPart && name !== known?.bytes) await rm(join(dirname(target), name), { force: true });
    }
    if (known) await part.#continue(join(dirname(target), known.bytes), known.validator, onRead);
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

  async #continue(path: string, validator: string, onRead: (bytes: number) => void): Promise<void> {
    try {
      this.#file = await open(path, 'r+');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      throw error;
    }
    for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) {
      this.#hash.update(chunk as Buffer);
      this.#bytes += (chunk as Buffer).length;
      onRead(this.#bytes);
    }
    [this.#path, this.#validator, this.#pieces] = [path, validator, 1];
  }

  /** Another answer goes on with it. */
  goOn(): void {
    this.#pieces += 1;
  }

  /** Forgets all bytes: an answer begins at the first one. */
  async begin(validator: string | undefined): Promise<void> {
    await this.discard();
    this.#path = `${this.#target}.part-${randomBytes(8).toString('hex')}`;
    this.#file = await open(this.#path, 'wx+');
    this.#validator = validator;
    if (validator === undefined) return;
    const origin = originOf(this.#target);
    const bytes = basename(this.#path);
    await writeFile(`${origin}.new`, JSON.stringify({ url: this.#url, validator, bytes }), { flush: true });
    await rename(`${origin}.new`, origin);
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

  /** Makes it durable and gives it its name. False: somebody else has taken it away, and may have put the whole file in its place. */
  async finish(): Promise<boolean> {
    await this.#file!.sync();
    await this.close();
    try {
      await rename(this.#path!, this.#target);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      await this.discard();
      return false;
    }
    await rm(originOf(this.#target), { force: true });
    return true;
  }

  /** Leaves nothing of it. */
  async discard(): Promise<void> {
    await this.close();
    await rm(originOf(this.#target), { force: true });
    if (this.#path !== undefined) await rm(this.#path, { force: true });
    this.#hash = createHash('sha256');
    [this.#path, this.#bytes, this.#pieces, this.#validator] = [undefined, 0, 1, undefined];
  }

  async close(): Promise<void> {
    await this.#file?.close();
    this.#file = undefined;
  }
}

const originOf = (target: string): string => `${target}.part`;

async function readOrigin(target: string): Promise<z.output<typeof Origin> | undefined> {
  try {
    return Origin.parse(JSON.parse(await readFile(originOf(target), 'utf8')));
  } catch {
    // Missing or cut off by a kill: then nobody knows what the bytes are of.
    return undefined;
  }
}
