// Tells people what a controller did, as events.k8s.io/v1 objects: the same event again raises a count instead of making another object.
import type { KubeClient, KubeObject } from '#operator/kube/client.ts';
import type { Clock } from '#operator/kube/clock.ts';
import { Event } from '#operator/kube/core.ts';
import { isNotFound } from '#operator/kube/errors.ts';

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
  /** Resolves when everything emitted so far was sent or dropped. */
  flush(): Promise<void>;
}

/** A series ends after this time without another event of its kind. */
const seriesEndMs = 6 * 60_000;
/** Events of one object: this many at once, then one every five minutes. */
const burst = 25;
const refillMs = 5 * 60_000;
const maxTracked = 4096;
const maxNoteLength = 1024;

interface Series {
  event: Event;
  count: number;
  lastAt: number;
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

  const send = async (regarding: KubeObject, happening: Happening): Promise<void> => {
    const now = clock.now();
    const key = [regarding.metadata.uid, happening.type, happening.reason, happening.action, happening.note].join('\n');
    const running = series.get(key);
    if (running && now - running.lastAt < seriesEndMs) {
      running.count += 1;
      running.lastAt = now;
      const grown = { ...running.event, series: { count: running.count, lastObservedTime: microTime(now) } };
      try {
        await client.update(Event, grown);
        return;
      } catch (error) {
        if (!isNotFound(error)) throw error;
      }
    }
    const event = newEvent(regarding, happening, now, controller, instance);
    remember(series, key, { event, count: 1, lastAt: now });
    await client.create(Event, event);
  };

  return {
    emit(regarding, happening) {
      const clipped = { ...happening, note: happening.note.slice(0, maxNoteLength) };
      if (!allowed(regarding.metadata.uid ?? '')) return;
      sending = sending.then(() => send(regarding, clipped)).catch((error: unknown) => options.onError?.(error));
    },
    flush: () => sending,
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

/** MicroTime of the API: six fractional digits. */
function microTime(ms: number): string {
  return new Date(ms).toISOString().replace('Z', '000Z');
}

/** Sets a key and forgets the one that was set longest ago when there are too many. */
function remember<V>(map: Map<string, V>, key: string, value: V): void {
  map.delete(key);
  map.set(key, value);
  if (map.size > maxTracked) map.delete(map.keys().next().value!);
}
