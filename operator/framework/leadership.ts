// Who may write: one process of several, by a Lease that it renews. One that could not renew stops writing before another may begin, and
// goes on when it can renew after all and nobody else has led meanwhile.
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
/** who leads writes no more this long after its last renewal; */
const renewDeadlineMs = 10_000;
/** and both try this often, or as soon as a slow try has ended; where several wait, spread by up to 1.2 times as much. */
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
export class NotLeadingError extends Error {
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
  /** When the renewal was sent that succeeded last; undefined before the first, and when another was seen to hold the lease. */
  #renewedAt: number | undefined;
  /** Whether this process has led: then it never takes the lease from another again. */
  #hasLed = false;
  #acquiring: Promise<void> = Promise.resolve();
  #renewing: Promise<void> = Promise.resolve();

  constructor(options: LeadershipOptions) {
    this.#options = options;
  }

  /** Aborts when this process led and another one was seen to lead. */
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
        this.#hasLed = true;
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
    let leads = true;
    const tell = () => {
      if (this.holds !== leads) onChange?.((leads = this.holds));
    };
    let begunAt = this.#renewedAt!;
    for (;;) {
      await sleep(clock, Math.max(0, begunAt + retryPeriodMs - clock.now()), stop);
      if (stop.aborted) return;
      begunAt = clock.now();
      const trying = this.#try();
      if (this.#renewedAt !== undefined) await this.#within(this.#renewedAt + renewDeadlineMs - clock.now(), trying);
      if (stop.aborted) return;
      tell();
      await trying;
      if (stop.aborted) return;
      tell();
      if (this.#renewedAt !== undefined) continue;
      this.#lost.abort(new NotLeadingError('another operator has taken the lease, which could not be renewed in time'));
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
      // Nobody can say who led while this process did not and the lease was away.
      if (!lease && this.#hasLed && !this.holds) return this.#gone();
      if (!lease) return this.#took(await client.create(Lease, this.#claim(undefined)), sentAt);
      const holder = lease.spec.holderIdentity ?? '';
      if (holder !== identity && this.#hasLed) return this.#gone();
      const isValid = this.#seen!.at + leaseDurationMs > clock.now();
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

  #gone(): false {
    this.#renewedAt = undefined;
    return false;
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
