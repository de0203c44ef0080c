// Connects a pod to the event bus of where it runs.
import type { BusPublisher } from './bus.ts';
import { connectSocketPublisher } from './bus-socket.ts';
import { connectNatsBus } from './nats-bus.ts';
import type { BusIdentity } from './nats-bus.ts';

export interface BusAddress {
  /** `unix:<path>` in the embedded default, `nats://HOST:PORT` or `tls://HOST:PORT` in a cluster; undefined: every message is dropped. */
  readonly address: string | undefined;
  /** Folder of the certificates for `tls://`. */
  readonly certificates: string | undefined;
  /** What to prove oneself with where there is no such folder. */
  readonly identity?: (() => Promise<BusIdentity>) | undefined;
  /** Who publishes. */
  readonly name: string;
  readonly log: (fields: object, message: string) => void;
}

/** Never fails: a bus that is away costs telemetry only. */
export function connectBusPublisher({ address, certificates, identity, name, log }: BusAddress): BusPublisher {
  if (address === undefined) return { publish() {}, close: async () => {} };
  if (address.startsWith('unix:')) return connectSocketPublisher(address.slice('unix:'.length));
  return connectNatsBus({
    server: address,
    name,
    certificates,
    identity,
    onChange: (connected, why) =>
      connected
        ? log({ bus: address }, 'the event bus is there')
        : log({ bus: address, reason: why }, 'the event bus is away; progress is not reported until it is back'),
  });
}
