// The identity of this pod for as long as it runs: asked for until there is one, and renewed before it expires.
import { X509Certificate } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { WindlassError } from '#runtime/api/errors.ts';
import type { CredentialsSource, Identity } from './request.ts';
import { RefusedError, requestIdentity } from './request.ts';

export interface PodIdentityOptions extends CredentialsSource {
  readonly log: (fields: object, message: string) => void;
  /** The pod is to end. */
  readonly signal: AbortSignal;
  /** How long a pod without an identity tries before it gives up. */
  readonly patienceMs?: number;
}

const firstRetryMs = 200;
const longestRetryMs = 10_000;
/** An operator that is replaced, or that waits for a node, is back long before. */
const defaultPatienceMs = 900_000;
/** However short certificates live. */
const leastRenewalMs = 1_000;
const maxTimerMs = 2_147_483_647;

export class PodIdentity {
  readonly #options: PodIdentityOptions;
  readonly #closing = new AbortController();
  readonly #listeners = new Set<(identity: Identity) => void>();
  #current: Identity;
  #renewing: Promise<void>;

  /** Throws WL_CREDENTIALS when the operator gives none in time, and what `signal` was aborted with. */
  static async obtain(options: PodIdentityOptions): Promise<PodIdentity> {
    const { patienceMs = defaultPatienceMs, signal } = options;
    const startedAt = performance.now();
    const identity = await ask(options, options.ca, signal, (why) => {
      const waitedMs = performance.now() - startedAt;
      if (waitedMs < patienceMs) return;
      const told = `the operator at ${options.url} gave this pod no credentials for ${Math.round(waitedMs / 1000)} s: ${why}`;
      throw new WindlassError('WL_CREDENTIALS', told);
    });
    return new PodIdentity(options, identity);
  }

  private constructor(options: PodIdentityOptions, identity: Identity) {
    this.#options = options;
    this.#current = identity;
    this.#renewing = this.#renew();
  }

  /** New connections are made with this. */
  get current(): Identity {
    return this.#current;
  }

  /** Called with each new identity; returns the way to stop. */
  onRenewed(listener: (identity: Identity) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#renewing;
  }

  /** Connections that are open live on, whatever becomes of this. */
  async #renew(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      const waitMs = Math.min(Math.max(leastRenewalMs, renewalOf(this.#current.cert) - Date.now()), maxTimerMs);
      await sleep(waitMs, undefined, { signal, ref: false }).catch(() => {});
      if (signal.aborted || renewalOf(this.#current.cert) > Date.now()) continue;
      // Whom to trust was told with the last answer: the authority may have changed since the pod was made.
      const renewed = await ask(this.#options, this.#current.ca, signal, () => {}).catch(() => undefined);
      if (!renewed) continue;
      this.#current = renewed;
      this.#options.log(
        { until: new X509Certificate(renewed.cert).validToDate.toISOString() },
        'renewed the credentials of this pod',
      );
      for (const listener of this.#listeners) listener(renewed);
    }
  }
}

/** Tries until it succeeds, `onFault` throws, or the signal is aborted. Says each new reason once. */
async function ask(
  options: PodIdentityOptions,
  ca: string,
  signal: AbortSignal,
  onFault: (why: string) => void,
): Promise<Identity> {
  let retryMs = firstRetryMs;
  let lastWhy = '';
  for (;;) {
    signal.throwIfAborted();
    let askedMs = 0;
    try {
      return await requestIdentity({ ...options, ca }, signal);
    } catch (error) {
      signal.throwIfAborted();
      const why = (error as Error).message;
      if (why !== lastWhy)
        options.log({ operator: options.url, reason: why }, 'waiting for credentials of this pod; asking again');
      lastWhy = why;
      onFault(why);
      if (error instanceof RefusedError) askedMs = error.retryAfterMs;
    }
    await sleep(askedMs + retryMs * (0.5 + Math.random() / 2), undefined, { signal }).catch(() => {});
    retryMs = Math.min(2 * retryMs, longestRetryMs);
  }
}

/** At two thirds of the life of a certificate; ms since 1970. */
function renewalOf(certificate: string): number {
  const { validFromDate, validToDate } = new X509Certificate(certificate);
  return validFromDate.getTime() + ((validToDate.getTime() - validFromDate.getTime()) * 2) / 3;
}
