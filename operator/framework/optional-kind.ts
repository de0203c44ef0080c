// A kind that some clusters lack: found by asking the API, kept in a store while it is there, looked for again from time to time while it is not.
import type { KubeClient, KubeObject, ResourceType } from '#operator/kube/client.ts';
import { sleep } from '#operator/kube/clock.ts';
import type { Clock } from '#operator/kube/clock.ts';
import { isForbidden, isNotFound } from '#operator/kube/errors.ts';
import { reflect } from './reflector.ts';
import { Store } from './store.ts';

/** One read each time. A feature of a cluster is turned on by a restart of its API server, which is rare. */
const askAgainMs = 300_000;
/** After a failure of the API, as the reflector's longest. */
const afterFailureMs = 30_000;

export interface OptionalKindOptions {
  client: KubeClient;
  clock: Clock;
  /** Namespaces that are watched, each by itself; all at once if absent. */
  namespaces?: readonly string[];
  labels?: Readonly<Record<string, string>>;
  onError?: (error: unknown) => void;
}

export class OptionalKind<T extends KubeObject> {
  readonly store: Store<T>;
  readonly #options: OptionalKindOptions;
  readonly #listeners: (() => void)[] = [];
  #served: boolean | undefined;

  constructor(type: ResourceType<T>, options: OptionalKindOptions) {
    this.#options = options;
    this.store = new Store(type, {}, type.namespaced ? options.namespaces : undefined);
  }

  /** Whether the API has it and the store holds what exists; undefined until that is known. */
  get served(): boolean | undefined {
    return this.#served;
  }

  /** Calls `listener` whenever `served` has changed. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  /** Resolves when it is known whether the API has it. */
  whenKnown(): Promise<void> {
    return this.#served === undefined ? new Promise((resolve) => this.onChange(resolve)) : Promise.resolve();
  }

  /** Asks and watches until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { client, clock, onError } = this.#options;
    while (!signal.aborted) {
      try {
        if (await client.serves(this.store.type)) await this.#watch(signal);
        if (signal.aborted) return;
        this.#become(false);
        await sleep(clock, askAgainMs, signal);
      } catch (error) {
        if (signal.aborted) return;
        onError?.(error);
        await sleep(clock, afterFailureMs, signal);
      }
    }
  }

  /** Keeps the store until the API says that it does not have the kind, or not for us. */
  async #watch(signal: AbortSignal): Promise<void> {
    const { client, clock, labels, onError } = this.#options;
    const { store } = this;
    const gone = new AbortController();
    const until = AbortSignal.any([signal, gone.signal]);
    const failed = (error: unknown) => {
      onError?.(error);
      if (isNotFound(error) || isForbidden(error)) gone.abort();
    };
    const watching = store.namespaces.map((namespace) =>
      reflect({ client, store, clock, onError: failed, selector: { namespace, labels } }, until),
    );
    const ended = Promise.all(watching);
    await Promise.race([store.whenSynced(), ended]);
    if (!until.aborted) this.#become(true);
    await ended;
    for (const namespace of store.namespaces) store.replaceAll([], '0', namespace);
  }

  #become(served: boolean): void {
    if (this.#served === served) return;
    this.#served = served;
    for (const listener of this.#listeners) listener();
  }
}
