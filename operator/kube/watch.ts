// One watch of an API server: what is asked for, and its lines as events.
import type { KubeObject } from '#crds/resource.ts';
import type { WatchEvent, WatchOptions } from './client.ts';
import { KubeError } from './errors.ts';
import { errorOfStatus } from './http-error.ts';
import { isJsonObject } from './json.ts';
import { jsonLines } from './json-lines.ts';

/** The server ends a watch after a random time between this and twice as long, so that watches don't all come back at once. */
const minTimeoutSeconds = 300;

/** The query of a watch from a version; without one, of a watch that first tells what exists (WatchList). */
export function watchQuery(resourceVersion: string | undefined, jitter: number): Record<string, string> {
  return {
    watch: '1',
    allowWatchBookmarks: 'true',
    timeoutSeconds: String(Math.round(minTimeoutSeconds * (1 + jitter))),
    ...(resourceVersion === undefined
      ? { sendInitialEvents: 'true', resourceVersionMatch: 'NotOlderThan' }
      : { resourceVersion }),
  };
}

/** The events of a watch until the server ends it. Throws Expired when the version is too old. */
export async function* watchEvents<T extends KubeObject>(
  chunks: AsyncIterable<Uint8Array>,
  decode: (raw: unknown) => T,
  { bookmarks, signal }: WatchOptions,
): AsyncGenerator<WatchEvent<T>> {
  try {
    for await (const line of jsonLines(chunks)) {
      const event = eventOf(line, decode);
      if (event.type !== 'BOOKMARK' || bookmarks) yield event;
    }
  } catch (error) {
    // An abort may cut a line.
    if (!signal.aborted) throw error;
  }
}

function eventOf<T extends KubeObject>(line: unknown, decode: (raw: unknown) => T): WatchEvent<T> {
  const { type, object } = isJsonObject(line) ? line : {};
  if (type === 'ADDED' || type === 'MODIFIED' || type === 'DELETED') return { type, object: decode(object) };
  if (type === 'BOOKMARK') return bookmarkOf(object);
  if (type === 'ERROR') throw errorOfStatus(isJsonObject(object) ? Number(object['code'] ?? 500) : 500, object, 'watch');
  throw new KubeError('Unavailable', `the watch sent an event of the unknown type ${String(type)}`);
}

function bookmarkOf(object: unknown): WatchEvent<never> {
  const { metadata } = object as KubeObject;
  const isEnd = metadata.annotations?.['k8s.io/initial-events-end'] === 'true';
  return {
    type: 'BOOKMARK',
    resourceVersion: metadata.resourceVersion ?? '',
    ...(isEnd ? { initialEventsEnd: true } : {}),
  };
}
