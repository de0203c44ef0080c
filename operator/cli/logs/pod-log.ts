// The log of one container as the API server passes it on, line by line with the time of each.
import type { ObjectKey } from '#operator/kube/client.ts';
import type { Transport } from '#operator/kube/transport.ts';

export interface LogSelection {
  readonly container: string;
  /** The container before the last restart. */
  readonly previous?: boolean | undefined;
  /** Goes on until the container ends, or the connection. */
  readonly follow?: boolean | undefined;
  /** Newest lines only. */
  readonly tail?: number | undefined;
  readonly sinceSeconds?: number | undefined;
  /** Lines of this second (RFC 3339) and later. */
  readonly sinceTime?: string | undefined;
  /** Bytes after which the server ends its answer. */
  readonly limitBytes?: number | undefined;
}

export interface LogLine {
  /** Nanoseconds since 1970; undefined for a line of the kubelet itself. */
  readonly time: bigint | undefined;
  readonly text: string;
}

/** Longer lines are cut in pieces: nobody shall need more memory than that for a line without an end. */
const maxLineChars = 1 << 20;

/** Lines of a log. Waits with reading while nobody takes them. Throws KubeError: BadRequest while the container has not started. */
export async function* readLog(
  transport: Transport,
  pod: ObjectKey,
  selection: LogSelection,
  signal: AbortSignal,
): AsyncGenerator<LogLine> {
  const chunks = transport.stream({ method: 'GET', path: pathOf(pod, selection), accept: '*/*' }, signal);
  for await (const text of textLines(chunks)) yield lineOf(text);
}

function pathOf({ namespace = '', name }: ObjectKey, selection: LogSelection): string {
  const { container, previous, follow, tail, sinceSeconds, sinceTime, limitBytes } = selection;
  const query = new URLSearchParams({ container, timestamps: 'true' });
  if (previous) query.set('previous', 'true');
  if (follow) query.set('follow', 'true');
  if (tail !== undefined) query.set('tailLines', String(tail));
  if (sinceTime !== undefined) query.set('sinceTime', sinceTime);
  else if (sinceSeconds !== undefined) query.set('sinceSeconds', String(sinceSeconds));
  if (limitBytes !== undefined) query.set('limitBytes', String(limitBytes));
  return `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${encodeURIComponent(name)}/log?${query.toString()}`;
}

/** Lines without their ends; the last one may lack it. */
async function* textLines(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let pending = '';
  for await (const chunk of chunks) {
    const lines = (pending + decoder.decode(chunk, { stream: true })).split('\n');
    pending = lines.pop() ?? '';
    yield* lines;
    if (pending.length > maxLineChars) {
      yield pending;
      pending = '';
    }
  }
  pending += decoder.decode();
  if (pending !== '') yield pending;
}

/** `2026-11-25T10:00:00.123456789Z what was printed`. */
function lineOf(line: string): LogLine {
  const [, seconds, fraction = '', zone, text] =
    /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) ?([^]*)$/.exec(line) ?? [];
  if (seconds === undefined) return { time: undefined, text: line };
  const ms = Date.parse(`${seconds}${zone}`);
  return { time: BigInt(ms) * 1_000_000n + BigInt(fraction.padEnd(9, '0')), text: text ?? '' };
}

/** The second of a time of a line, as `sinceTime` takes it. */
export function secondOf(time: bigint): string {
  return `${new Date(Number(time / 1_000_000n)).toISOString().slice(0, 19)}Z`;
}
