// Fetches one file: goes on where it was cut, in this process or an earlier one, and is there under its name only when it is whole and right.
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, rm, stat, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { WindlassError } from '#runtime/api/errors.ts';
import { refused } from './client.ts';
import type { RemoteClient } from './client.ts';
import { Part } from './part.ts';
import { Setback } from './patience.ts';
import type { Reply } from './reply.ts';
import { untilDone } from './retry.ts';
import { shown } from './url.ts';

export interface DownloadOptions {
  readonly path: string;
  /** sha256 in hexadecimal. Without one, nothing but the server vouches for the bytes, and another process begins anew. */
  readonly sha256?: string | undefined;
  /** Default: `largestFileBytes`. */
  readonly maxBytes?: number;
  /** Told how many bytes it will be, 0 where the server does not say, before there must be room for them. */
  readonly needs?: (bytes: number) => Promise<void>;
  /** Bytes that are there, and of how many where the server says so. */
  readonly onBytes?: (bytes: number, totalBytes: number | undefined) => void;
  /** So much of what was there is read, to be held against the digest. */
  readonly onRead?: (bytes: number) => void;
}

export interface Downloaded {
  readonly bytes: number;
  readonly sha256: string;
}

/** A server that sends more is at fault, or wants to fill the disk. */
const largestFileBytes = 4 * 2 ** 40;

/**
 * Fetches the file, or finds it there; one with another digest is fetched anew. One process at a time for a path: hold a lease. Throws
 * WL_DIGEST_MISMATCH, WL_REMOTE_REFUSED, WL_REMOTE_UNAVAILABLE, WL_SECRET_INVALID, WL_DISK_FULL.
 */
export async function download(client: RemoteClient, url: URL, options: DownloadOptions): Promise<Downloaded> {
  const { path, sha256, onBytes, onRead = () => {} } = options;
  const there = await whole(path, sha256, onRead);
  if (there) {
    onBytes?.(there.bytes, there.bytes);
    return there;
  }
  await mkdir(dirname(path), { recursive: true });
  const part = await Part.open(path, url.href, sha256 !== undefined, onRead);
  try {
    for (let isSecond = false; ;) {
      await untilDone(
        client,
        () => fetchRest(client, url, part, options),
        () => part.bytes,
      );
      const found = part.digest();
      if (sha256 === undefined || found === sha256) {
        const { bytes } = part;
        const isOurs = await part.finish();
        await syncFolder(dirname(path));
        const done = isOurs ? { bytes, sha256: found } : await whole(path, sha256, onRead);
        if (done) return done;
        continue;
      }
      const { isPieced } = part;
      await part.discard();
      // What was put together may be of two files: a whole one may be right.
      if (!isPieced || isSecond) throw mismatch(url, found, sha256);
      isSecond = true;
    }
  } finally {
    await part.close();
  }
}

export function mismatch(url: URL, found: string, wanted: string): WindlassError {
  const message = `${shown(url)} has digest sha256:${found}; sha256:${wanted} is asked for`;
  return new WindlassError('WL_DIGEST_MISMATCH', message, { details: { url: shown(url), found, wanted } });
}

async function whole(path: string, sha256: string | undefined, onRead: (bytes: number) => void): Promise<Downloaded | undefined> {
  const entry = await stat(path).catch(() => undefined);
  if (!entry) return undefined;
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) {
    hash.update(chunk as Buffer);
    onRead((bytes += (chunk as Buffer).length));
  }
  const found = hash.digest('hex');
  if (sha256 === undefined || found === sha256) return { bytes: entry.size, sha256: found };
  await rm(path);
  return undefined;
}

/** Asks for what is missing and writes it. Resolves when the last byte is there. */
async function fetchRest(client: RemoteClient, url: URL, part: Part, options: DownloadOptions): Promise<void> {
  const { maxBytes = largestFileBytes, needs, onBytes } = options;
  const { bytes: have, validator } = part;
  const resumes = have > 0 && validator !== undefined;
  using reply = await client.ask(url, {
    method: 'GET',
    headers: resumes ? { range: `bytes=${have}-`, 'if-range': validator } : {},
  });
  const { status, headers } = reply;
  const encoding = headers['content-encoding'];
  if (encoding !== undefined && encoding !== 'identity')
    throw refused(`${shown(url)} is sent with Content-Encoding ${encoding}, which changes its bytes`);
  const range = /^bytes (\d+)-\d+\/(\d+)$/.exec(headers['content-range'] ?? '');
  let total: number | undefined;
  if (status === 206) {
    if (!resumes || Number(range?.[1]) !== have || (validatorOf(reply) ?? validator) !== validator) {
      await part.begin(undefined);
      throw new Setback(`${shown(url)} sent another part than was asked for`);
    }
    part.goOn();
    total = Number(range?.[2]);
  } else if (status === 200) {
    await part.begin(validatorOf(reply));
    total = headers['content-length'] === undefined ? undefined : Number(headers['content-length']);
  } else if (status === 416 && resumes && headers['content-range'] === `bytes */${have}`) {
    part.goOn();
    return;
  } else {
    await part.begin(undefined);
    throw new Setback(`${shown(url)} answered with ${status}`);
  }
  if (total === undefined || total <= maxBytes) await needs?.(total ?? 0);
  await checkRoom(url, options.path, { have: part.bytes, total, maxBytes });
  onBytes?.(part.bytes, total);
  for await (const chunk of steady(client, url, reply)) {
    if (part.bytes + chunk.byteLength > maxBytes) throw tooLarge(url, maxBytes);
    await part.append(chunk);
    onBytes?.(part.bytes, total);
  }
  if (total !== undefined && part.bytes !== total) throw new Setback(`${shown(url)} ended after ${part.bytes} of ${total} bytes`);
}

/** A strong ETag proves that two answers are of the same bytes; a date nearly does, and the digest finds out where not. */
function validatorOf({ headers }: Reply): string | undefined {
  const { etag } = headers;
  return etag !== undefined && !etag.startsWith('W/') ? etag : headers['last-modified'];
}

/** The body, as long as it comes fast enough. Throws Setback when the connection breaks. */
async function* steady({ patience }: RemoteClient, url: URL, reply: Reply): AsyncGenerator<Uint8Array> {
  const { stallMs, slowestBytes } = patience;
  let came = 0;
  const watch = setInterval(() => {
    if (came < slowestBytes) reply.destroy(new Setback(`${shown(url)} sent ${came} bytes in ${stallMs / 1000} s`));
    came = 0;
  }, stallMs);
  try {
    for await (const chunk of reply.body()) {
      came += chunk.byteLength;
      yield chunk;
    }
  } catch (error) {
    if (error instanceof Setback) throw error;
    throw new Setback(`${shown(url)}: the connection broke: ${(error as Error).message}`, { cause: error });
  } finally {
    clearInterval(watch);
  }
}

async function checkRoom(
  url: URL,
  path: string,
  { have, total, maxBytes }: { have: number; total: number | undefined; maxBytes: number },
): Promise<void> {
  if (total === undefined) return;
  if (total > maxBytes) throw tooLarge(url, maxBytes);
  const { bavail, bsize } = await statfs(dirname(path));
  const missing = total - have - bavail * bsize;
  if (missing <= 0) return;
  throw new WindlassError('WL_DISK_FULL', `${shown(url)} has ${total} bytes; ${missing} more are needed at ${dirname(path)}`, {
    details: { path, missing },
  });
}

function tooLarge(url: URL, maxBytes: number): WindlassError {
  return refused(`${shown(url)} has more than ${maxBytes} bytes`);
}

export async function syncFolder(path: string): Promise<void> {
  const handle = await open(path);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
