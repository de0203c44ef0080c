// Starts and stops the parts of an operator in order: stores are filled before controllers run; controllers end before watches do.
import type { KubeClient, KubeObject, ListOptions, ResourceType } from '#operator/kube/client.ts';
import { systemClock } from '#operator/kube/clock.ts';
import type { Clock } from '#operator/kube/clock.ts';
import type { Logger } from 'pino';
import { Controller } from './controller.ts';
import type { ControllerSpec } from './controller.ts';
import { createEventRecorder } from './event-recorder.ts';
import type { EventRecorder } from './event-recorder.ts';
import { fenced } from './leadership.ts';
import type { Leadership } from './leadership.ts';
import { createMetrics } from './metrics.ts';
import type { Metrics } from './metrics.ts';
import { OptionalKind } from './optional-kind.ts';
import { reflect } from './reflector.ts';
import { Store } from './store.ts';
import type { IndexFunction } from './store.ts';

export interface ManagerOptions {
  client: KubeClient;
  log: Logger;
  clock?: Clock;
  metrics?: Metrics;
  /** Name of this process in events. */
  instance?: string;
  /** Namespaces that are watched, each by itself; all of the cluster if absent. */
  namespaces?: readonly string[];
  /** Labels or fields of the objects of a kind that matter; a cluster has many that don't. */
  selectors?: readonly ({ type: ResourceType } & Pick<ListOptions, 'labels' | 'fields'>)[];
  /** Who may write, where several processes stand by. Stores are filled before, so that the next one begins at once. */
  leadership?: Leadership;
  /** How long the first listing may take; for ever if absent. */
  syncTimeoutMs?: number;
}

/** A background part with the life of the manager: started before the controllers, stopped after them. */
export interface Service {
  start(): Promise<void>;
  stop(): Promise<void>;
}

/** How long a stop waits for reconciles that run. */
const stopTimeoutMs = 30_000;

export class Manager {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly events: EventRecorder;
  readonly #options: ManagerOptions;
  readonly #stores = new Map<string, Store>();
  readonly #optional: OptionalKind<KubeObject>[] = [];
  readonly #controllers: Controller[] = [];
  readonly #services: Service[] = [];
  readonly #abort = new AbortController();
  readonly #stopping = new AbortController();
  #started: Service[] = [];
  #reflectors: Promise<void>[] = [];

  constructor(options: ManagerOptions) {
    this.#options = options;
    this.client = options.leadership ? fenced(options.client, options.leadership) : options.client;
    this.clock = options.clock ?? systemClock;
    this.log = options.log;
    this.metrics = options.metrics ?? createMetrics();
    this.events = createEventRecorder({
      client: this.client,
      clock: this.clock,
      controller: 'windlass.dev/operator',
      instance: options.instance ?? 'windlass',
      onError: (error) => this.log.warn({ err: error }, 'an event was lost'),
    });
  }

  /** The store of a kind; the same one for everybody who asks before `start`. Throws if indexes come too late. */
  store<T extends KubeObject>(type: ResourceType<T>, indexes?: Record<string, IndexFunction<T>>): Store<T> {
    const name = `${type.group}/${type.kind}`;
    const known = this.#stores.get(name);
    if (known) {
      if (indexes)
        throw new Error(`internal: the store of ${type.kind} exists; its indexes are given where it is asked for first`);
      return known as unknown as Store<T>;
    }
    if (this.#reflectors.length > 0) throw new Error(`internal: the manager runs; ask for the store of ${type.kind} before`);
    const store = new Store(type, indexes, type.namespaced ? this.#options.namespaces : undefined);
    this.#stores.set(name, store as unknown as Store);
    return store;
  }

  /** A kind that the cluster may lack: looked for from the start on. Controllers run when it is known whether it is there. */
  optionalKind<T extends KubeObject>(type: ResourceType<T>): OptionalKind<T> {
    const { client, clock } = this;
    const { namespaces } = this.#options;
    const { labels } = this.#selectorOf(type);
    const kind = new OptionalKind(type, {
      client,
      clock,
      ...(namespaces ? { namespaces } : {}),
      ...(labels ? { labels } : {}),
      onError: (error) => this.log.warn({ err: error, kind: type.kind }, 'an optional kind failed; trying again'),
    });
    this.#optional.push(kind as unknown as OptionalKind<KubeObject>);
    return kind;
  }

  add(spec: ControllerSpec): Controller {
    const controller = new Controller(spec, { client: this.client, clock: this.clock, log: this.log, metrics: this.metrics });
    this.#controllers.push(controller);
    return controller;
  }

  addService(service: Service): void {
    this.#services.push(service);
  }

  /** Whether all stores hold what exists. */
  get synced(): boolean {
    return this.#reflectors.length > 0 && this.#unsynced().length === 0;
  }

  /**
   * Resolves when the stores are filled, this process leads, and the controllers run; or when it is stopped before that. Throws if the stores
   * are not filled in time, naming the kinds.
   */
  async start(): Promise<void> {
    for (const store of this.#stores.values()) {
      for (const namespace of store.namespaces) this.#reflectors.push(this.#reflect(store, namespace));
    }
    for (const kind of this.#optional) this.#reflectors.push(kind.run(this.#abort.signal));
    await this.#filled();
    await this.#options.leadership?.acquire(this.#stopping.signal);
    for (const service of this.#services) {
      if (this.#stopping.signal.aborted) return;
      this.#started.push(service);
      await service.start();
    }
    if (this.#stopping.signal.aborted) return;
    for (const controller of this.#controllers) controller.start();
  }

  /** Stops controllers, then services in reverse order, sends the last events, ends the watches, and lets another process lead. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#within(stopTimeoutMs, Promise.all(this.#controllers.map((controller) => controller.stop())));
    for (const service of this.#started.splice(0).toReversed()) await service.stop();
    await this.events.flush();
    this.#abort.abort();
    await Promise.all(this.#reflectors);
    await this.#options.leadership?.release();
  }

  /** Whether no controller has anything waiting or running. */
  get idle(): boolean {
    return this.#controllers.every((controller) => controller.idle);
  }

  /** The metrics in Prometheus text. */
  async metricsText(): Promise<string> {
    for (const controller of this.#controllers) controller.measure();
    return this.metrics.registry.metrics();
  }

  #reflect(store: Store, namespace: string | undefined): Promise<void> {
    const { client, clock } = this;
    const kind = store.type.kind;
    const onError = (error: unknown, what: string) =>
      this.log.warn({ err: error, kind, namespace }, `${what} failed; trying again`);
    const { labels, fields } = this.#selectorOf(store.type);
    return reflect({ client, store, clock, onError, selector: { namespace, labels, fields } }, this.#abort.signal);
  }

  #selectorOf(type: ResourceType): Pick<ListOptions, 'labels' | 'fields'> {
    return this.#options.selectors?.find((selector) => selector.type === type) ?? {};
  }

  async #filled(): Promise<void> {
    const stores = [...this.#stores.values()].map((store) => store.whenSynced());
    const filled = Promise.all([...stores, ...this.#optional.map((kind) => kind.whenKnown())]);
    const stopped = new Promise((resolve) => this.#stopping.signal.addEventListener('abort', resolve, { once: true }));
    const { syncTimeoutMs } = this.#options;
    const first = Promise.race([filled, stopped]);
    await (syncTimeoutMs === undefined ? first : this.#within(syncTimeoutMs, first));
    if (this.#stopping.signal.aborted || this.#unsynced().length === 0) return;
    throw new Error(`what exists of ${this.#unsynced().join(', ')} could not be read within ${(syncTimeoutMs ?? 0) / 1000} s`);
  }

  #unsynced(): string[] {
    const stores = [...this.#stores.values()].filter((store) => !store.synced);
    const unknown = this.#optional.filter(({ served }) => served === undefined);
    return [...stores, ...unknown.map(({ store }) => store)].map((store) => store.type.kind);
  }

  async #within(limitMs: number, work: Promise<unknown>): Promise<void> {
    let cancel = () => {};
    const timeUp = new Promise<void>((resolve) => {
      cancel = this.clock.after(limitMs, resolve);
    });
    await Promise.race([work, timeUp]);
    cancel();
  }
}
