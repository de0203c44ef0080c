// Keeps the authority of the installation in a Secret of its own namespace: the operator that leads makes and rotates it, all of them read it.
import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import type { Clock } from '#operator/kube/clock.ts';
import { sleep } from '#operator/kube/clock.ts';
import type { KubeClient, ObjectKey } from '#operator/kube/client.ts';
import { Secret } from '#operator/kube/core.ts';
import { isAlreadyExists, isConflict, isNotFound } from '#operator/kube/errors.ts';
import { AuthorityState, bundleOf, dueStep, lookEveryMs, takeStep } from './authority.ts';
import type { AuthorityRules, AuthorityStep } from './authority.ts';
import { BusKeys, newBusKeys } from './bus-accounts.ts';

const Trust = z.object({
  authority: AuthorityState,
  /** What secrets of jobs are derived from. */
  root: z.string(),
  bus: BusKeys,
});
/** All that an installation must keep to itself. */
export type Trust = z.output<typeof Trust>;

export interface AuthorityKeeperOptions {
  client: KubeClient;
  clock: Clock;
  /** The operator's own namespace, and the name of the Secret there. */
  secret: ObjectKey;
  rules: AuthorityRules;
  /** Whether this process leads: only then it writes. */
  leads: () => boolean;
  onStep?: (step: AuthorityStep) => void;
  onError?: (error: unknown) => void;
}

const impatientMs = 1_000;
const patientMs = 60_000;
const dataKey = 'trust.json';

export class AuthorityKeeper {
  readonly #options: AuthorityKeeperOptions;
  readonly #listeners = new Set<(trust: Trust) => void>();
  #trust: Trust | undefined;
  #text = '';

  constructor(options: AuthorityKeeperOptions) {
    this.#options = options;
  }

  /** What was read last; undefined as long as nobody has made it. */
  get trust(): Trust | undefined {
    return this.#trust;
  }

  /** Called with what there is, and with each change. */
  onChange(listener: (trust: Trust) => void): void {
    this.#listeners.add(listener);
    if (this.#trust) listener(this.#trust);
  }

  /** Looks each minute or more often, each second until there is something; ends with the signal. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, rules, onError } = this.#options;
    while (!signal.aborted) {
      await this.look().catch((error: unknown) => onError?.(error));
      await sleep(clock, this.#trust ? lookEveryMs(rules, patientMs) : impatientMs, signal);
    }
  }

  /** Resolves when there is something: before that no pod can be told whom to trust. */
  async ready(signal: AbortSignal): Promise<void> {
    while (!this.#trust && !signal.aborted) {
      await this.look().catch((error: unknown) => this.#options.onError?.(error));
      if (!this.#trust) await sleep(this.#options.clock, impatientMs, signal);
    }
  }

  /** Reads, and takes the step that is due if this process leads. Of several that write at once, one wins and the others read again. */
  async look(): Promise<void> {
    const { client, secret, leads, rules, clock, onStep } = this.#options;
    const found = await this.#read();
    this.#use(found);
    const step = dueStep(this.#trust?.authority, clock.now(), rules);
    if (!step || !leads()) return;
    const authority = await takeStep(step, this.#trust?.authority, clock.now(), rules);
    const next: Trust = this.#trust ? { ...this.#trust, authority } : { authority, root: newRoot(), bus: await newBusKeys() };
    const object = secretOf(secret, next);
    try {
      const written = found
        ? await client.update(Secret, { ...object, metadata: { ...found.metadata } })
        : await client.create(Secret, object);
      onStep?.(step);
      this.#use(written);
    } catch (error) {
      if (!isConflict(error) && !isAlreadyExists(error)) throw error;
      this.#use(await this.#read());
    }
  }

  async #read(): Promise<Secret | undefined> {
    const { client, secret } = this.#options;
    try {
      return await client.get(Secret, secret);
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  /** An empty Secret is as good as none. One that can't be read is left alone: what it held may be all that running pods trust. */
  #use(found: Secret | undefined): void {
    const text = Buffer.from(found?.data?.[dataKey] ?? '', 'base64').toString();
    if (text === '' || text === this.#text) return;
    this.#trust = parse(text, this.#options.secret);
    this.#text = text;
    for (const listener of this.#listeners) listener(this.#trust);
  }
}

function parse(text: string, { namespace, name }: ObjectKey): Trust {
  try {
    return Trust.parse(JSON.parse(text));
  } catch (cause) {
    const remedy = `restore it, or delete it for a new authority: jobs that run then lose their connections`;
    throw new Error(`${dataKey} of Secret ${namespace}/${name} can't be read; ${remedy}`, { cause });
  }
}

const newRoot = (): string => randomBytes(32).toString('base64url');

function secretOf({ name, namespace }: ObjectKey, trust: Trust): Secret {
  const encode = (text: string) => Buffer.from(text).toString('base64');
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name, ...(namespace === undefined ? {} : { namespace }) },
    type: 'Opaque',
    // The bundle is for people, and for servers of their own that must know our pods.
    data: { [dataKey]: encode(JSON.stringify(trust)), 'ca.crt': encode(bundleOf(trust.authority)) },
  };
}
