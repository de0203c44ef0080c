// Cuts a stream of bytes into lines of JSON and parses them, without holding up the event loop for long.
import { performance } from 'node:perf_hooks';
import { setImmediate } from 'node:timers/promises';
import { KubeError } from './errors.ts';
import { parseObject } from './object-text.ts';

/** An object of the API has at most 1.5 MiB in etcd; one line holds one. Beyond this the stream is not what we think it is. */
const maxLineBytes = 16 * 2 ** 20;
/** Parsing goes on for this long before timers and sockets get their turn. */
const sliceMs = 5;

/** Most objects fit in the first room; that of a very large one is given back. */
const [leastRoomBytes, keptRoomBytes] = [2 ** 15, 2 ** 20];

const newline = 0x0a;

/** The values of the lines. Throws Unavailable when a line is no JSON, too long, or cut at the end of the stream. */
export async function* jsonLines(chunks: AsyncIterable<Uint8Array>): AsyncGenerator {
  const cut = new CutLine();
  let sliceEnd = performance.now() + sliceMs;
  for await (const chunk of chunks) {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    let start = 0;
    for (let end = bytes.indexOf(newline); end >= 0; end = bytes.indexOf(newline, start)) {
      yield parse(cut.length === 0 ? bytes.toString('utf8', start, end) : cut.endWith(bytes.subarray(start, end)));
      start = end + 1;
      if (performance.now() > sliceEnd) {
        await setImmediate();
        sliceEnd = performance.now() + sliceMs;
      }
    }
    if (start === bytes.length) continue;
    cut.add(bytes.subarray(start));
    if (cut.length > maxLineBytes) throw new KubeError('Unavailable', `a line of the watch is longer than ${maxLineBytes} bytes`);
  }
  if (cut.length > 0) throw new KubeError('Unavailable', 'the watch was cut in the middle of a line');
}

/** A line that comes in several chunks, in room that is used again for the next one. */
class CutLine {
  length = 0;
  #room = Buffer.alloc(0);

  add(part: Uint8Array): void {
    const length = this.length + part.length;
    if (length > this.#room.length) {
      const wider = Buffer.alloc(Math.max(leastRoomBytes, 2 * length));
      wider.set(this.#room.subarray(0, this.length));
      this.#room = wider;
    }
    this.#room.set(part, this.length);
    this.length = length;
  }

  /** The text of the line; the next one begins. */
  endWith(part: Uint8Array): string {
    this.add(part);
    const text = this.#room.toString('utf8', 0, this.length);
    this.length = 0;
    if (this.#room.length > keptRoomBytes) this.#room = Buffer.alloc(0);
    return text;
  }
}

function parse(text: string): unknown {
  try {
    return parseObject(text);
  } catch (cause) {
    throw new KubeError('Unavailable', 'a line of the watch is not JSON', { cause });
  }
}
