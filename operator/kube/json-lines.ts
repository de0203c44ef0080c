// Cuts a stream of bytes into lines of JSON and parses them, without holding up the event loop for long.
import { performance } from 'node:perf_hooks';
import { setImmediate } from 'node:timers/promises';
import { KubeError } from './errors.ts';
import { parseObject } from './object-text.ts';

/** An object of the API has at most 1.5 MiB in etcd; one line holds one. Beyond this the stream is not what we think it is. */
const maxLineBytes = 16 * 2 ** 20;
/** Parsing goes on for this long before timers and sockets get their turn. */
const sliceMs = 5;

const newline = 0x0a;

/** The values of the lines. Throws Unavailable when a line is no JSON, too long, or cut at the end of the stream. */
export async function* jsonLines(chunks: AsyncIterable<Uint8Array>): AsyncGenerator {
  let parts: Uint8Array[] = [];
  let held = 0;
  let sliceEnd = performance.now() + sliceMs;
  for await (const chunk of chunks) {
    let start = 0;
    for (let end = chunk.indexOf(newline); end >= 0; end = chunk.indexOf(newline, start)) {
      parts.push(chunk.subarray(start, end));
      yield parse(parts);
      parts = [];
      held = 0;
      start = end + 1;
      if (performance.now() > sliceEnd) {
        await setImmediate();
        sliceEnd = performance.now() + sliceMs;
      }
    }
    if (start === chunk.length) continue;
    parts.push(chunk.subarray(start));
    held += chunk.length - start;
    if (held > maxLineBytes) throw new KubeError('Unavailable', `a line of the watch is longer than ${maxLineBytes} bytes`);
  }
  if (held > 0) throw new KubeError('Unavailable', 'the watch was cut in the middle of a line');
}

function parse(parts: Uint8Array[]): unknown {
  const bytes = parts.length === 1 ? parts[0]! : Buffer.concat(parts);
  try {
    return parseObject(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8'));
  } catch (cause) {
    throw new KubeError('Unavailable', 'a line of the watch is not JSON', { cause });
  }
}
