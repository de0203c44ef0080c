// Keeps a store equal to the API: lists, watches, and starts over when a watch ends, fails or expires. Never stops by itself.
import type { KubeClient, KubeObject, ListOptions } from '#operator/kube/client.ts';
import { sleep } from '#operator/kube/clock.ts';
import type { Clock } from '#operator/kube/clock.ts';
import { isExpired } from '#operator/kube/errors.ts';
import type { Store } from './store.ts';

/** Delays of client-go's reflector: from 0.8 s, doubled up to 30 s, forgotten after 2 minutes without a failure. */
const baseDelayMs = 800;
const maxDelayMs = 30_000;
const resetAfterMs = 120_000;

export interface ReflectorOptions<T extends KubeObject> {
  client: KubeClient;
  store: Store<T>;
  clock: Clock;
  selector?: ListOptions;
  /** Told about every failure; the reflector goes on. */
  onError?: (error: unknown, what: 'list' | 'watch') => void;
  /** A number in [0, 1) that spreads retries of many reflectors. */
  jitter?: () => number;
}

/** Runs until `signal` aborts. */
export async function reflect<T extends KubeObject>(options: ReflectorOptions<T>, signal: AbortSignal): Promise<void> {
  const { client, store, clock, selector = {} } = options;
  const backoff = createBackoff(clock, options.jitter ?? Math.random);
  let version: string | undefined;
  while (!signal.aborted) {
    try {
      if (version === undefined) {
        const listed = await client.list(store.type, selector);
        if (signal.aborted) return;
        store.replaceAll(listed.items, listed.resourceVersion);
        version = listed.resourceVersion;
      }
    } catch (error) {
      options.onError?.(error, 'list');
      await sleep(clock, backoff(), signal);
      continue;
    }
    try {
      for await (const event of client.watch(store.type, { ...selector, resourceVersion: version, bookmarks: true, signal })) {
        if (event.type === 'BOOKMARK') {
          store.bookmark(event.resourceVersion);
          version = event.resourceVersion;
          continue;
        }
        if (event.type === 'DELETED') store.delete(event.object);
        else store.upsert(event.object);
        version = event.object.metadata.resourceVersion ?? version;
      }
    } catch (error) {
      if (isExpired(error)) {
        version = undefined;
        continue;
      }
      options.onError?.(error, 'watch');
    }
    if (!signal.aborted) await sleep(clock, backoff(), signal);
  }
}

function createBackoff(clock: Clock, jitter: () => number): () => number {
  let failures = 0;
  let last = -Infinity;
  return () => {
    if (clock.now() - last > resetAfterMs) failures = 0;
    last = clock.now();
    return Math.min(maxDelayMs, baseDelayMs * 2 ** failures++) * (1 + jitter());
  };
}
