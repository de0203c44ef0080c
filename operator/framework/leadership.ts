// Who may write: one process of several, by a Lease that it renews. One that could not renew stops by itself before another may begin.
import type { KubeClient } from '#operator/kube/client.ts';
import { sleep } from '#operator/kube/clock.ts';
import type { Clock } from '#operator/kube/clock.ts';
import { Lease } from '#operator/kube/core.ts';
import { isAlreadyExists, isConflict, isNotFound } from '#operator/kube/errors.ts';
import { mergePatchBetween } from '#operator/kube/json.ts';
import { microTime } from '#operator/kube/micro-time.ts';
import { aroundWrites } from '#operator/kube/write-hook.ts';

/** client-go's: others wait this long after the last renewal that they saw; */
const leaseDurationMs = 15_000;
/** who leads gives up this long after its last renewal; */
const renewDeadlineMs = 10_000;
/** and both try this often, spread by up to 1.2 times as much where several wait. */
const retryPeriodMs = 2000;
const jitterFactor = 1.2;

export interface LeadershipOptions {
  /** Its requests must not wait behind others; they are given up after half of the renew deadline. */
  client: KubeClient;
  /** Must not jump, as the clock on the wall does. */
  clock: Clock;
  namespace: string;
  /** Name of the Lease. */
  name: string;
  /** Name of this process, unlike all others. */
  identity: string;
  jitter?: () => number;
  onChange?: (leads: boolean) => void;
  onSlowPath?: () => void;
  onError?: (error: unknown) => void;
}

/** A write was stopped because this process does not lead (any more). */
class NotLeadingError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'NotLeadingError';
  }
}

export class Leadership {
  readonly #options: LeadershipOptions;
  readonly #lost = new AbortController();
  readonly #stop = new AbortController();
  /** The lease as it was seen last, and when it was seen to change. */
  #seen: { lease: Lease; at: number } | undefined;
  /** When the renewal was sent that succeeded last. */
  #renewedAt: number | undefined;
  #acquiring: Promise<void> = Promise.resolve();
  #renewing: Promise<void> = Promise.resolve();

  constructor(options: LeadershipOptions) {
    this.#options = options;
  }

  /** Aborts when this process led and could not renew in time. */
  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /** Whether this process may write now. */
  get holds(): boolean {
    if (this.#renewedAt === undefined || this.#lost.signal.aborted) return false;
    return this.#options.clock.now() - this.#renewedAt < renewDeadlineMs;
  }

  /** Resolves when this process leads, or `signal` aborts; renews from then on. */
  acquire(signal: AbortSignal): Promise<void> {
    this.#acquiring = this.#acquire(signal);
    return this.#acquiring;
  }

  async #acquire(signal: AbortSignal): Promise<void> {
    const { clock, jitter = Math.random } = this.#options;
    while (!signal.aborted) {
      if (await this.#try()) {
        this.#options.onChange?.(true);
        this.#renewing = this.#keep();
        return;
      }
      await sleep(clock, retryPeriodMs * (1 + jitterFactor * jitter()), signal);
    }
  }

  /** Stops renewing and lets others begin at once. What `acquire` was given must have aborted, or it must have ended. */
  async release(): Promise<void> {
    this.#stop.abort();
    await this.#acquiring;
    await this.#renewing;
    const { client, clock, onChange, onError } = this.#options;
    const held = this.holds ? this.#seen?.lease : undefined;
    this.#renewedAt = undefined;
    if (!held) return;
    onChange?.(false);
    const time = microTime(clock.now());
    const spec = { ...held.spec, holderIdentity: '', leaseDurationSeconds: 1, renewTime: time, acquireTime: time };
    await client.update(Lease, { ...held, spec }).catch((error: unknown) => onError?.(error));
  }

  async #keep(): Promise<void> {
    const { clock, onChange } = this.#options;
    const stop = this.#stop.signal;
    for (;;) {
      await sleep(clock, retryPeriodMs, stop);
      if (stop.aborted) return;
      await this.#within(renewDeadlineMs - (clock.now() - this.#renewedAt!), this.#try());
      if (stop.aborted) return;
      if (this.holds) continue;
      onChange?.(false);
      this.#lost.abort(new NotLeadingError(`the lease could not be renewed within ${renewDeadlineMs / 1000} s`));
      return;
    }
  }

  async #within(limitMs: number, work: Promise<unknown>): Promise<void> {
    const timeUp = new AbortController();
    await Promise.race([work, sleep(this.#options.clock, Math.max(0, limitMs), timeUp.signal)]);
    timeUp.abort();
  }

  /** Takes or renews the lease if it may; gives whether this process holds it then. */
  async #try(): Promise<boolean> {
    const { client, clock, identity, onError, onSlowPath } = this.#options;
    const sentAt = clock.now();
    try {
      if (this.holds && this.#seen) {
        try {
          return this.#took(await client.update(Lease, this.#claim(this.#seen.lease)), sentAt);
        } catch (error) {
          if (!isConflict(error)) throw error;
          onSlowPath?.();
        }
      }
      const lease = await this.#read();
      if (!lease) return this.#took(await client.create(Lease, this.#claim(undefined)), sentAt);
      const holder = lease.spec.holderIdentity ?? '';
      const isValid = this.#seen!.at + leaseDurationMs > clock.now();
      if (holder !== identity) this.#renewedAt = undefined;
      if (holder !== '' && holder !== identity && isValid) return false;
      return this.#took(await client.update(Lease, this.#claim(lease)), sentAt);
    } catch (error) {
      if (!isConflict(error) && !isAlreadyExists(error)) onError?.(error);
      return false;
    }
  }

  #took(lease: Lease, sentAt: number): true {
    this.#seen = { lease, at: sentAt };
    this.#renewedAt = sentAt;
    return true;
  }

  /** The lease as it is now. When it expires is judged by our own clock, from the moment at which it was seen to change. */
  async #read(): Promise<Lease | undefined> {
    const { client, clock, namespace, name } = this.#options;
    const lease = await client.get(Lease, { namespace, name }).catch((error: unknown) => {
      if (isNotFound(error)) return undefined;
      throw error;
    });
    if (lease) {
      const isSame = this.#seen !== undefined && mergePatchBetween(this.#seen.lease.spec, lease.spec) === undefined;
      this.#seen = { lease, at: isSame ? this.#seen!.at : clock.now() };
    }
    return lease;
  }

  #claim(before: Lease | undefined): Lease {
    const { clock, namespace, name, identity } = this.#options;
    const time = microTime(clock.now());
    const isOurs = before?.spec.holderIdentity === identity;
    return {
      ...(before ?? { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { namespace, name } }),
      spec: {
        holderIdentity: identity,
        leaseDurationSeconds: leaseDurationMs / 1000,
        acquireTime: isOurs ? (before.spec.acquireTime ?? time) : time,
        renewTime: time,
        leaseTransitions: isOurs ? (before.spec.leaseTransitions ?? 0) : (before?.spec.leaseTransitions ?? -1) + 1,
      },
    };
  }
}

/** The client, whose writes throw NotLeadingError while this process does not lead. */
export function fenced(client: KubeClient, leadership: Pick<Leadership, 'holds'>): KubeClient {
  return aroundWrites(client, async (verb, type, key, act) => {
    if (leadership.holds) return act();
    throw new NotLeadingError(`${verb} of ${type.kind} ${key.name} was stopped: this process does not lead`);
  });
}
