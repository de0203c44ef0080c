// The event bus over NATS, for clusters. It may be away for as long as it likes: what is published meanwhile is dropped but for the newest of
// each subject, so that listeners catch up with the first message after it is back.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ConnectionOptions, NatsConnection, TlsOptions } from 'nats';
import type { BusListener, EventBus } from './bus.ts';

export interface NatsBusOptions {
  /** `nats://HOST:PORT` or `tls://HOST:PORT`. */
  readonly server: string;
  /** How the connection is named in the server's own figures. */
  readonly name: string;
  /**
   * Folder with `ca.crt`, and with `tls.crt` and `tls.key` where the server wants a client certificate, as a Secret of type kubernetes.io/tls is
   * mounted. Read again at each connection, so certificates may be renewed. Needed for `tls://`.
   */
  readonly certificates?: string | undefined;
  /** What to prove oneself with at `tls://` where there is no such folder, or nothing of ours in it; asked for at each connection. */
  readonly identity?: (() => Promise<BusIdentity>) | undefined;
  /** Called with each change: true when the bus is there and has all subscriptions, false and why when it is not. */
  readonly onChange?: (connected: boolean, why: string) => void;
}

/** Texts are PEM. */
export interface BusIdentity {
  readonly cert: string;
  readonly key: string;
  /** Who vouches for the server; whom this machine trusts if absent. */
  readonly ca: string | undefined;
  /** For a server that knows users by tokens: such a one speaks TLS from the first byte. */
  readonly login?: { readonly token: string; readonly seed: Uint8Array } | undefined;
}

const retryMs = 1_000;
const connectTimeoutMs = 5_000;
/** A server that is silent for three of these is given up. */
const pingIntervalMs = 5_000;
/** Progress of a large job takes some kilobytes; the server's own limit is one MiB by default. */
const maxPayloadBytes = 512 << 10;
const maxWaitingSubjects = 1_024;

/** Connects in the background, and again whenever the connection is lost. */
export function connectNatsBus(options: NatsBusOptions): NatsBus {
  return new NatsBus(options);
}

export class NatsBus implements EventBus {
  readonly #options: NatsBusOptions;
  readonly #subscriptions = new Set<Subscription>();
  /** The newest message of each subject while there is no connection. */
  readonly #waiting = new Map<string, string>();
  readonly #closing = new AbortController();
  readonly #running: Promise<void>;
  #connection: NatsConnection | undefined;
  #lastWhy: string | undefined;

  constructor(options: NatsBusOptions) {
    this.#options = options;
    this.#running = this.#run();
  }

  publish(subject: string, payload: unknown): void {
    const text = JSON.stringify(payload);
    if (this.#closing.signal.aborted || text.length > maxPayloadBytes) return;
    const connection = this.#connection;
    if (connection === undefined || connection.isClosed()) {
      this.#waiting.delete(subject);
      this.#waiting.set(subject, text);
      if (this.#waiting.size > maxWaitingSubjects) this.#waiting.delete(this.#waiting.keys().next().value!);
      return;
    }
    send(connection, subject, text);
  }

  subscribe(pattern: string, listener: BusListener): () => void {
    const subscription: Subscription = { pattern, listener };
    this.#subscriptions.add(subscription);
    if (this.#connection) listen(this.#connection, subscription);
    return () => {
      this.#subscriptions.delete(subscription);
      subscription.stop?.();
    };
  }

  /** Waits until what was published has reached the server, at most `timeoutMs`, then disconnects. */
  async close(timeoutMs = 1_000): Promise<void> {
    const connection = this.#connection;
    const flushed = connection?.flush().catch(() => {}) ?? Promise.resolve();
    await Promise.race([flushed, sleep(timeoutMs, undefined, { ref: false })]);
    this.#closing.abort();
    this.#subscriptions.clear();
    await connection?.close();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    // Loaded when there is a bus to speak to, not with every command.
    const { connect, jwtAuthenticator } = await import('nats');
    while (!signal.aborted) {
      try {
        const identity = await this.#options.identity?.();
        const login = identity?.login && { authenticator: jwtAuthenticator(identity.login.token, identity.login.seed) };
        const connection = await connect({ ...this.#connectionOptions(identity), ...login });
        if (signal.aborted) await connection.close();
        else await this.#use(connection);
        const error = await connection.closed();
        this.#connection = undefined;
        this.#changed(false, error instanceof Error ? error.message : 'the connection was closed');
      } catch (error) {
        this.#changed(false, error instanceof Error ? error.message : String(error));
      }
      await sleep(retryMs / 2 + Math.random() * retryMs, undefined, { signal, ref: false }).catch(() => {});
    }
  }

  /** Without the library's own reconnection: it would queue everything, and go on with certificates of old. */
  #connectionOptions(identity: BusIdentity | undefined): ConnectionOptions {
    const { server, name, certificates } = this.#options;
    const encrypted = server.startsWith('tls://');
    const host = server.replace(/^\w+:\/\//, '');
    return {
      servers: host,
      name,
      reconnect: false,
      timeout: connectTimeoutMs,
      pingInterval: pingIntervalMs,
      maxPingOut: 2,
      ignoreClusterUpdates: true,
      tls: encrypted ? tlsOptions(host, certificates, identity) : null,
    };
  }

  async #use(connection: NatsConnection): Promise<void> {
    this.#connection = connection;
    for (const subscription of this.#subscriptions) listen(connection, subscription);
    for (const [subject, text] of this.#waiting) send(connection, subject, text);
    this.#waiting.clear();
    // An answer comes after the server has taken what was sent before: from now on listeners hear what others publish.
    await Promise.race([connection.flush().catch(() => {}), connection.closed()]);
    if (!connection.isClosed()) this.#changed(true, '');
  }

  #changed(connected: boolean, why: string): void {
    if (this.#closing.signal.aborted || this.#lastWhy === why) return;
    this.#lastWhy = why;
    this.#options.onChange?.(connected, why);
  }
}

interface Subscription {
  readonly pattern: string;
  readonly listener: BusListener;
  stop?: () => void;
}

function listen(connection: NatsConnection, subscription: Subscription): void {
  const live = connection.subscribe(subscription.pattern, {
    callback: (error, message) => {
      if (error) return;
      let payload: unknown;
      try {
        payload = message.json();
      } catch {
        return; // Not one of ours.
      }
      subscription.listener(payload, message.subject);
    },
  });
  subscription.stop = () => live.unsubscribe();
}

/** A connection that ends in this moment loses the message. */
function send(connection: NatsConnection, subject: string, text: string): void {
  try {
    connection.publish(subject, text);
  } catch {
    // The end of the connection is seen by #run.
  }
}

function tlsOptions(
  server: string,
  folder: string | undefined,
  identity: BusIdentity | undefined,
): TlsOptions & { host: string } {
  // Node checks the certificate against this name; without it, one for an IP address would be checked against `localhost`.
  const host = server.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1');
  const { cert, key, ca, login } = identity ?? {};
  const given = {
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(login ? { handshakeFirst: true } : {}),
  };
  if (folder === undefined) return { host, ...given, ...(ca === undefined ? {} : { ca }) };
  const file = (name: string) => join(folder, name);
  const own = existsSync(file('tls.crt')) ? { certFile: file('tls.crt'), keyFile: file('tls.key') } : given;
  return { host, caFile: file('ca.crt'), ...own };
}
