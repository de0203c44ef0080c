// The event bus: hints, heartbeats and progress. Losing it loses telemetry only, so publishing never waits and never throws.
import { subjectMatches } from './subjects.ts';

export interface EventBus {
  /** Sends a JSON-serialisable payload to whoever listens now. */
  publish(subject: string, payload: unknown): void;
  /** Calls `listener` for each message whose subject fits `pattern`; returns the way to stop. */
  subscribe(pattern: string, listener: BusListener): () => void;
  close(): void | Promise<void>;
}

/** The side of a bus that only speaks. */
export interface BusPublisher {
  publish(subject: string, payload: unknown): void;
  /** Waits until what was published has left this process, at most `timeoutMs`, then disconnects. */
  close(timeoutMs: number): Promise<void>;
}

export type BusListener = (payload: unknown, subject: string) => void;

/** A bus inside one process: the embedded default's, and the double in tests. */
export function createInProcessBus(): EventBus {
  const subscriptions = new Set<{ pattern: string; listener: BusListener }>();
  return {
    publish(subject, payload) {
      for (const { pattern, listener } of subscriptions) {
        if (subjectMatches(pattern, subject)) listener(payload, subject);
      }
    },
    subscribe(pattern, listener) {
      const subscription = { pattern, listener };
      subscriptions.add(subscription);
      return () => void subscriptions.delete(subscription);
    },
    close() {
      subscriptions.clear();
    },
  };
}
