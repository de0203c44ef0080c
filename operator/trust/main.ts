// Trust of an installation: its authority, the credentials that pods of jobs get, and what the bus knows whom by.
import type { Logger } from 'pino';
import { TrainingJob } from '#crds/v1alpha1/index.ts';
import type { Manager, Service } from '#operator/framework/manager.ts';
import { sleep, systemClock } from '#operator/kube/clock.ts';
import type { KubeClient } from '#operator/kube/client.ts';
import { Pod } from '#operator/kube/core.ts';
import { authoritySecret, busSecret } from '#operator/controllers/access.ts';
import type { CredentialsSettings } from '#operator/controllers/effective.ts';
import type { BusIdentity } from '#runtime/api/nats-bus.ts';
import { bundleOf, lookEveryMs, renewalOf, takeoverOf } from './authority.ts';
import type { AuthorityRules } from './authority.ts';
import { AuthorityKeeper } from './authority-keeper.ts';
import type { Trust } from './authority-keeper.ts';
import { BusKeeper } from './bus-keeper.ts';
import { serveCredentials } from './credentials-server.ts';
import type { CredentialsServer } from './credentials-server.ts';
import { clientIdentity, listenerLogin, serverIdentity } from './own-identity.ts';
import type { TrustMetrics } from './trust-metrics.ts';

export interface TrustOptions {
  readonly manager: Manager;
  /** Every operator asks the API server about tokens, whether it leads or not. */
  readonly client: KubeClient;
  /** The operator's own. */
  readonly namespace: string;
  readonly leads: () => boolean;
  readonly rules: AuthorityRules;
  /** `https://HOST:PORT` where pods find the credentials service. */
  readonly url: string;
  /** What it listens on. */
  readonly address: string;
  /** `tls://HOST:PORT` of a bus whose certificates and users are ours. */
  readonly ownBus: string | undefined;
  /** PEM of who vouches for a bus that is not ours. */
  readonly busCa: string | undefined;
  readonly metrics: TrustMetrics;
  readonly log: Logger;
}

/** How often it is seen to that nothing expires, if not more often. */
const lookMs = 15_000;

/** Must be made before the manager starts. Authorities have dates: the clock is that on the wall. */
export class TrustOfInstallation {
  readonly #options: TrustOptions;
  readonly #keeper: AuthorityKeeper;
  readonly #closing = new AbortController();
  readonly #running: Promise<void>[] = [];
  #server: CredentialsServer | undefined;

  constructor(options: TrustOptions) {
    const { manager, namespace, rules, leads, metrics, log } = options;
    this.#options = options;
    this.#keeper = new AuthorityKeeper({
      client: manager.client,
      clock: systemClock,
      secret: { namespace, name: authoritySecret },
      rules,
      leads,
      onStep: (step) => log.info({ step }, 'the authority changed'),
      onError: (error) => log.warn({ err: error }, 'the authority could not be read or written; trying again'),
    });
    this.#keeper.onChange(({ authority }) =>
      metrics.valid('authority', authority.current.certificate, takeoverOf(authority, rules)),
    );
  }

  /** The authority is there before the first controller runs: pods are told whom to trust when they are made. */
  get service(): Service {
    return { start: () => this.#keeper.ready(this.#closing.signal), stop: async () => {} };
  }

  /** What pods of jobs are told. The controllers run only when it is known. */
  get settings(): CredentialsSettings {
    const trusted = () => this.#trusted();
    return {
      url: this.#options.url,
      get ca() {
        return bundleOf(trusted().authority);
      },
    };
  }

  /** What the operator shows to the bus. Throws as long as there is no authority. */
  async busIdentity(): Promise<BusIdentity> {
    const { rules, ownBus, busCa } = this.#options;
    const trust = this.#trusted();
    const { cert, key, ca } = await clientIdentity(trust, Date.now(), rules.certificateMs);
    if (ownBus === undefined) return { cert, key, ca: busCa };
    return { cert, key, ca, login: await listenerLogin(trust, Date.now(), rules.certificateMs) };
  }

  /** Begins to serve as soon as there is an authority. */
  start(): void {
    const { signal } = this.#closing;
    this.#running.push(this.#keeper.run(signal), this.#serve(signal), this.#keepBus(signal));
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.all(this.#running);
    await this.#server?.close();
  }

  #trusted(): Trust {
    const { trust } = this.#keeper;
    if (!trust) throw new Error('the authority is not known yet');
    return trust;
  }

  /** Renews the certificate of the service when it grows old, and when the authority changed. */
  async #serve(signal: AbortSignal): Promise<void> {
    const { log, rules, url, address, client, manager, ownBus, busCa, metrics } = this.#options;
    const pods = manager.store(Pod);
    const jobs = manager.store(TrainingJob);
    let served: { cert: string; by: string } | undefined;
    const look = async () => {
      const { trust } = this.#keeper;
      if (!trust) return;
      const by = bundleOf(trust.authority);
      if (served?.by === by && Date.now() < renewalOf(served.cert)) return;
      const identity = await serverIdentity([new URL(url).hostname], trust, Date.now(), rules.certificateMs);
      if (this.#server) this.#server.renew(identity);
      else
        this.#server = await serveCredentials(address, identity, {
          client,
          known: ({ namespace, name }) => {
            const pod = pods.get({ namespace, name });
            const owner = pod?.metadata.ownerReferences?.find(({ controller }) => controller);
            return { pod, job: owner && jobs.get({ namespace, name: owner.name }) };
          },
          trust: () => this.#keeper.trust,
          now: Date.now,
          onAnswer: (status) => metrics.requests.inc({ code: String(status) }),
          rules: () => ({ certificateMs: rules.certificateMs, ownBus: ownBus !== undefined, busCa }),
          log,
        });
      if (!served) log.info({ port: this.#server.port }, 'credentials can be asked');
      metrics.valid('credentials', identity.cert, renewalOf(identity.cert));
      served = { cert: identity.cert, by };
    };
    await this.#repeat(look, signal, 'the credentials service failed; trying again');
  }

  async #keepBus(signal: AbortSignal): Promise<void> {
    const { manager, namespace, leads, ownBus, rules, metrics, log } = this.#options;
    if (ownBus === undefined) return;
    const { hostname, port } = new URL(ownBus);
    const keeper = new BusKeeper({
      client: manager.client,
      clock: systemClock,
      secret: { namespace, name: busSecret },
      host: hostname,
      port: Number(port),
      trust: () => this.#keeper.trust,
      certificateMs: rules.certificateMs,
      leads,
      onServed: (certificate) => metrics.valid('bus', certificate, renewalOf(certificate)),
      onChange: (what) =>
        log.info({}, what === 'written' ? 'wrote the certificates of the bus' : 'the bus took its new certificates'),
    });
    await this.#repeat(
      () => keeper.look(),
      signal,
      'the bus has not taken its certificates yet; trying again (if this lasts, restart its pod)',
    );
  }

  /** Now, with each change of the authority, and every few seconds. */
  async #repeat(look: () => Promise<void>, signal: AbortSignal, failed: string): Promise<void> {
    let wake = () => {};
    this.#keeper.onChange(() => wake());
    let lastWhy = '';
    while (!signal.aborted) {
      const woken = new AbortController();
      wake = () => woken.abort();
      const why = await look().then(
        () => '',
        (error: Error) => error.message,
      );
      if (why !== '' && why !== lastWhy) this.#options.log.warn({ why }, failed);
      lastWhy = why;
      await sleep(
        systemClock,
        this.#keeper.trust ? lookEveryMs(this.#options.rules, lookMs) : 1_000,
        AbortSignal.any([signal, woken.signal]),
      );
    }
  }
}
