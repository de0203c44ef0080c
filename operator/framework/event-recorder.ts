// Tells people what a controller did, as events.k8s.io/v1 objects: the same event again raises the count of a series.
import { keyOf } from '#operator/kube/client.ts';
import type { KubeClient, KubeObject } from '#operator/kube/client.ts';
import type { Clock } from '#operator/kube/clock.ts';
import { Event } from '#operator/kube/core.ts';
import { isNotFound } from '#operator/kube/errors.ts';
import { microTime } from '#operator/kube/micro-time.ts';

export interface Happening {
  type: 'Normal' | 'Warning';
  /** CamelCase, for programs. */
  reason: string;
  /** What the controller did or tried, CamelCase. */
  action: string;
  /** For people. */
  note: string;
}

export interface EventRecorder {
  /** Never waits and never throws: events are hints. */
  emit(regarding: KubeObject, happening: Happening): void;
  /** Resolves when everything emitted so far was sent or dropped, counts of series included. */
  flush(): Promise<void>;
}

/** client-go's: a series ends after this time without another event of its kind, */
const seriesEndMs = 6 * 60_000;
/** and while it goes on, its count is written this often. */
const seriesRefreshMs = 30 * 60_000;
/** Events of one object: this many at once, then one every five minutes. */
const burst = 25;
const refillMs = 5 * 60_000;
const maxTracked = 4096;
const maxNoteLength = 1024;

interface Series {
  event: Event;
  count: number;
  lastAt: number;
  /** What the API knows. */
  writtenCount: number;
  writtenAt: number;
  cancel: () => void;
}

export interface EventRecorderOptions {
  client: KubeClient;
  clock: Clock;
  /** Name of the controller, such as windlass.dev/trainingjob. */
  controller: string;
  instance: string;
  onError?: (error: unknown) => void;
}

export function createEventRecorder(options: EventRecorderOptions): EventRecorder {
  const { client, clock, controller, instance } = options;
  const series = new Map<string, Series>();
  const buckets = new Map<string, { tokens: number; filledAt: number }>();
  let sending: Promise<void> = Promise.resolve();

  const allowed = (uid: string): boolean => {
    const now = clock.now();
    const bucket = buckets.get(uid) ?? { tokens: burst, filledAt: now };
    remember(buckets, uid, bucket);
    const refill = Math.floor((now - bucket.filledAt) / refillMs);
    bucket.tokens = Math.min(burst, bucket.tokens + refill);
    bucket.filledAt += refill * refillMs;
    if (bucket.tokens < 1) return false;
    bucket.tokens -= 1;
    return true;
  };

  const write = async (running: Series): Promise<void> => {
    const { event, count, lastAt } = running;
    running.writtenCount = count;
    running.writtenAt = clock.now();
    const series = { count, lastObservedTime: microTime(lastAt) };
    try {
      await client.patch(Event, keyOf(event), { series });
    } catch (error) {
      if (!isNotFound(error)) throw error;
      await client.createUnread(Event, { ...event, series });
    }
  };
  const enqueue = (work: () => Promise<void>): void => {
    sending = sending.then(work).catch((error: unknown) => options.onError?.(error));
  };

  /** Comes back until the series has ended; writes a count that the API does not know, at the end or when it is due. */
  const follow = (key: string, running: Series): void => {
    running.cancel = clock.after(seriesEndMs, () => {
      const now = clock.now();
      const hasEnded = now - running.lastAt >= seriesEndMs;
      const isDue = hasEnded || now - running.writtenAt >= seriesRefreshMs;
      if (isDue && running.count > running.writtenCount) enqueue(() => write(running));
      if (hasEnded) series.delete(key);
      else follow(key, running);
    });
  };

  const send = (regarding: KubeObject, happening: Happening): void => {
    const now = clock.now();
    const key = [regarding.metadata.uid, happening.type, happening.reason, happening.action, happening.note].join('\n');
    const running = series.get(key);
    if (running && now - running.lastAt < seriesEndMs) {
      running.count += 1;
      running.lastAt = now;
      // The second one makes it a series; what follows is counted here, and told when it is due.
      if (running.count === 2) enqueue(() => write(running));
      return;
    }
    running?.cancel();
    const event = newEvent(regarding, happening, now, controller, instance);
    const begun: Series = { event, count: 1, lastAt: now, writtenCount: 1, writtenAt: now, cancel: () => {} };
    remember(series, key, begun)?.cancel();
    follow(key, begun);
    enqueue(async () => void (await client.createUnread(Event, event)));
  };

  return {
    emit(regarding, happening) {
      if (!allowed(regarding.metadata.uid ?? '')) return;
      send(regarding, { ...happening, note: happening.note.slice(0, maxNoteLength) });
    },
    async flush() {
      for (const running of series.values()) if (running.count > running.writtenCount) enqueue(() => write(running));
      await sending;
    },
  };
}

function newEvent(regarding: KubeObject, happening: Happening, now: number, controller: string, instance: string): Event {
  const { name, namespace, uid } = regarding.metadata;
  return {
    apiVersion: 'events.k8s.io/v1',
    kind: 'Event',
    metadata: { name: `${name}.${now.toString(16)}${nextSuffix()}`, namespace: namespace ?? 'default' },
    eventTime: microTime(now),
    reportingController: controller,
    reportingInstance: instance,
    action: happening.action,
    reason: happening.reason,
    note: happening.note,
    type: happening.type,
    regarding: {
      apiVersion: regarding.apiVersion,
      kind: regarding.kind,
      ...(namespace === undefined ? {} : { namespace }),
      name,
      uid: uid ?? '',
    },
  };
}

let suffix = 0;
function nextSuffix(): string {
  suffix = (suffix + 1) % 0x10000;
  return suffix.toString(16).padStart(4, '0');
}

/** Sets a key, and forgets the one that was set longest ago when there are too many: gives what was forgotten. */
function remember<V>(map: Map<string, V>, key: string, value: V): V | undefined {
  map.delete(key);
  map.set(key, value);
  if (map.size <= maxTracked) return undefined;
  const [oldest, forgotten] = map.entries().next().value!;
  map.delete(oldest);
  return forgotten;
}
