// Keeps a store equal to the API: watches from what exists on, and goes on when a watch ends, fails or expires. Never stops by itself.
import { formatKey, keyOf } from '#operator/kube/client.ts';
import type { KubeClient, KubeObject, ListOptions, WatchEvent } from '#operator/kube/client.ts';
import { sleep } from '#operator/kube/clock.ts';
import type { Clock } from '#operator/kube/clock.ts';
import { isExpired, KubeError } from '#operator/kube/errors.ts';
import type { Store } from './store.ts';

/** Delays of client-go's reflector: from 0.8 s, doubled up to 30 s, forgotten after 2 minutes without a failure. */
const baseDelayMs = 800;
const maxDelayMs = 30_000;
const resetAfterMs = 120_000;
/** A watch that ends sooner, and without an event, is no good end. */
const shortWatchMs = 1000;

export interface ReflectorOptions<T extends KubeObject> {
  client: KubeClient;
  store: Store<T>;
  clock: Clock;
  /** What is watched; with a namespace, one that the store was made for. */
  selector?: ListOptions;
  /** Told about every failure; the reflector goes on. `list`: what exists is not yet known. */
  onError?: (error: unknown, what: 'list' | 'watch') => void;
  /** A number in [0, 1) that spreads retries of many reflectors. */
  jitter?: () => number;
}

/** Runs until `signal` aborts. */
export async function reflect<T extends KubeObject>(options: ReflectorOptions<T>, signal: AbortSignal): Promise<void> {
  const { client, store, clock, selector = {} } = options;
  const { namespace } = selector;
  const backoff = createBackoff(clock, options.jitter ?? Math.random);
  /** Version told last; undefined while what exists is not known, or not any more. */
  let version: string | undefined;
  while (!signal.aborted) {
    const startedAt = clock.now();
    let events = 0;
    let failure: unknown;
    try {
      /** What a watch from the start has told so far; the store is replaced when it is complete. */
      let listing = version === undefined ? new Map<string, T>() : undefined;
      for await (const event of client.watch(store.type, { ...selector, resourceVersion: version, bookmarks: true, signal })) {
        events += 1;
        if (!listing) version = tell(store, event, namespace) ?? version;
        else if (event.type === 'DELETED') listing.delete(formatKey(keyOf(event.object)));
        else if (event.type !== 'BOOKMARK') listing.set(formatKey(keyOf(event.object)), event.object);
        else if (event.initialEventsEnd) {
          store.replaceAll([...listing.values()], event.resourceVersion, namespace);
          version = event.resourceVersion;
          listing = undefined;
        }
      }
    } catch (error) {
      failure = error;
    }
    if (signal.aborted) return;
    if (failure !== undefined && isExpired(failure)) {
      if (version !== undefined) {
        version = undefined;
        continue;
      }
    } else if (failure === undefined && (events > 0 || clock.now() - startedAt >= shortWatchMs)) continue;
    if (failure !== undefined) options.onError?.(failure, version === undefined ? 'list' : 'watch');
    const askedMs = failure instanceof KubeError ? (failure.retryAfterMs ?? 0) : 0;
    await sleep(clock, Math.max(backoff(), askedMs), signal);
  }
}

/** Puts an event into the store; gives the version that the store is at then. */
function tell<T extends KubeObject>(store: Store<T>, event: WatchEvent<T>, namespace: string | undefined): string | undefined {
  if (event.type === 'BOOKMARK') {
    store.bookmark(event.resourceVersion, namespace);
    return event.resourceVersion;
  }
  if (event.type === 'DELETED') store.delete(event.object);
  else store.upsert(event.object);
  return event.object.metadata.resourceVersion;
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
