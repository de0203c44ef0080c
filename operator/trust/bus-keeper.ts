// Keeps what the bundled bus starts from in a Secret that its pod mounts: configuration, certificate, authorities. When one of them changed, the
// server is asked to read them again as soon as the kubelet has put them there; nothing restarts, and connections stay.
import { X509Certificate } from 'node:crypto';
import { connect as connectTls } from 'node:tls';
import type { Clock } from '#operator/kube/clock.ts';
import type { KubeClient, ObjectKey } from '#operator/kube/client.ts';
import { Secret } from '#operator/kube/core.ts';
import { isAlreadyExists, isConflict, isNotFound } from '#operator/kube/errors.ts';
import { bundleOf, renewalOf } from './authority.ts';
import type { Trust } from './authority-keeper.ts';
import { accountsConfig } from './bus-accounts.ts';
import { clientIdentity, reloaderLogin, serverIdentity } from './own-identity.ts';

export interface BusKeeperOptions {
  client: KubeClient;
  clock: Clock;
  /** The Secret. */
  secret: ObjectKey;
  /** Where the bus listens: the name that its certificate is for. */
  host: string;
  port: number;
  trust: () => Trust | undefined;
  certificateMs: number;
  /** Where the server finds the files of the Secret, if not where the chart mounts it. */
  files?: string;
  /** Whether this process leads: only then it writes. */
  leads: () => boolean;
  onChange?: (what: 'written' | 'reloaded') => void;
  /** Told with each look: the certificate (PEM) that the bus was seen to show. */
  onServed?: (certificate: string) => void;
}

/** Where the pod of the bus mounts the Secret. */
const mountPath = '/etc/windlass-bus';
/** An operator may be away for a third of this before the bus has to be restarted. Its certificate is made anew with each change of the authority. */
const lifetimes = 30;
const timeoutMs = 5_000;

export class BusKeeper {
  readonly #options: BusKeeperOptions;

  constructor(options: BusKeeperOptions) {
    this.#options = options;
  }

  /** Writes what is due, and asks the server to reload while it shows another certificate than the one written. Cheap when nothing is due. */
  async look(): Promise<void> {
    const { client, clock, leads, onChange } = this.#options;
    const trust = this.#options.trust();
    if (!trust || !leads()) return;
    let found = await this.#read();
    const config = await busConfig(trust, this.#options.files ?? mountPath);
    if (!found || isStale(found, config, trust, clock.now())) {
      const object = await this.#made(trust, found, config);
      try {
        found = found ? await client.update(Secret, object) : await client.create(Secret, object);
        onChange?.('written');
      } catch (error) {
        if (isConflict(error) || isAlreadyExists(error)) return;
        throw error;
      }
    }
    const certificate = textOf(found, 'tls.crt');
    const wanted = new X509Certificate(certificate).fingerprint256;
    await this.#confirm(wanted, trust);
    if (this.#confirmed === wanted) this.#options.onServed?.(certificate);
  }

  /** The certificate that the server was seen to serve. */
  #confirmed: string | undefined;

  async #confirm(wanted: string, trust: Trust): Promise<void> {
    if (this.#confirmed === wanted) return;
    const { clock, certificateMs, host, port, onChange } = this.#options;
    const identity = await clientIdentity(trust, clock.now(), certificateMs);
    const served = await servedCertificate({ host, port, ...identity });
    if (served === wanted) {
      this.#confirmed = wanted;
      return;
    }
    const { connect, jwtAuthenticator } = await import('nats');
    const { token, seed } = await reloaderLogin(trust, clock.now(), certificateMs);
    const connection = await connect({
      servers: `${host}:${port}`,
      name: 'windlass operator',
      reconnect: false,
      timeout: timeoutMs,
      tls: { ...identity, handshakeFirst: true },
      authenticator: jwtAuthenticator(token, seed),
    });
    try {
      const { server_id: id } = connection.info!;
      const answer = await connection.request(`$SYS.REQ.SERVER.${id}.RELOAD`, '', { timeout: timeoutMs });
      const { error } = answer.json<{ error?: { description?: string } }>();
      if (error) throw new Error(`the bus can't reload: ${error.description}`);
    } finally {
      await connection.close();
    }
    if ((await servedCertificate({ host, port, ...identity })) !== wanted) return;
    this.#confirmed = wanted;
    onChange?.('reloaded');
  }

  async #read(): Promise<Secret | undefined> {
    try {
      return await this.#options.client.get(Secret, this.#options.secret);
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  async #made(trust: Trust, found: Secret | undefined, config: string): Promise<Secret> {
    const { clock, host, certificateMs, secret } = this.#options;
    const now = clock.now();
    const { cert, key, ca } = await serverIdentity([host], trust, now, lifetimes * certificateMs);
    const texts = { 'nats.conf': config, 'tls.crt': cert, 'tls.key': key, 'ca.crt': ca };
    return {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: found
        ? { ...found.metadata }
        : { name: secret.name, ...(secret.namespace === undefined ? {} : { namespace: secret.namespace }) },
      type: 'Opaque',
      data: Object.fromEntries(Object.entries(texts).map(([name, text]) => [name, Buffer.from(text).toString('base64')])),
    };
  }
}

/** Configuration of nats-server: TLS from the first byte, clients with certificates of our authority, users by tokens of our accounts. */
async function busConfig({ bus }: Trust, files: string): Promise<string> {
  const lines = [
    '# Made by the operator of Windlass.',
    'max_payload: 524288',
    'tls {',
    `  cert_file: "${files}/tls.crt"`,
    `  key_file: "${files}/tls.key"`,
    `  ca_file: "${files}/ca.crt"`,
    '  verify: true',
    '  handshake_first: true',
    '  timeout: 5',
    '}',
  ];
  return `${lines.join('\n')}\n${await accountsConfig(bus)}`;
}

function isStale(found: Secret, config: string, trust: Trust, now: number): boolean {
  if (textOf(found, 'nats.conf') !== config || textOf(found, 'ca.crt') !== bundleOf(trust.authority) || !textOf(found, 'tls.key'))
    return true;
  try {
    return now >= renewalOf(textOf(found, 'tls.crt'));
  } catch {
    return true;
  }
}

const textOf = ({ data }: Secret, name: string): string => Buffer.from(data?.[name] ?? '', 'base64').toString();

/** Fingerprint of what a server shows. Throws when there is none that can be trusted. */
function servedCertificate(to: { host: string; port: number; cert: string; key: string; ca: string }): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({ ...to, servername: to.host, timeout: timeoutMs }, () => {
      const { fingerprint256 } = socket.getPeerCertificate();
      socket.destroy();
      resolve(fingerprint256);
    });
    socket.once('timeout', () => socket.destroy(new Error(`the bus at ${to.host}:${to.port} does not answer`)));
    socket.once('error', reject);
  });
}
