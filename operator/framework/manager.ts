// Starts and stops the parts of an operator in order: stores are filled before controllers run; controllers end before watches do.
import type { KubeClient, KubeObject, ResourceType } from '#operator/kube/client.ts';
import { systemClock } from '#operator/kube/clock.ts';
import type { Clock } from '#operator/kube/clock.ts';
import type { Logger } from 'pino';
import { Controller } from './controller.ts';
import type { ControllerSpec } from './controller.ts';
import { createEventRecorder } from './event-recorder.ts';
import type { EventRecorder } from './event-recorder.ts';
import { createMetrics } from './metrics.ts';
import type { Metrics } from './metrics.ts';
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
  /** Namespace that is watched; all if absent. */
  namespace?: string;
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
  readonly #controllers: Controller[] = [];
  readonly #services: Service[] = [];
  readonly #abort = new AbortController();
  #reflectors: Promise<void>[] = [];

  constructor(options: ManagerOptions) {
    this.#options = options;
    this.client = options.client;
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
    const store = new Store(type, indexes);
    this.#stores.set(name, store as unknown as Store);
    return store;
  }

  add(spec: ControllerSpec): Controller {
    const controller = new Controller(spec, { client: this.client, clock: this.clock, log: this.log, metrics: this.metrics });
    this.#controllers.push(controller);
    return controller;
  }

  addService(service: Service): void {
    this.#services.push(service);
  }

  /** Resolves when the stores are filled and the controllers run. */
  async start(): Promise<void> {
    const { client, clock } = this;
    const selector = this.#options.namespace === undefined ? {} : { namespace: this.#options.namespace };
    const filled: Promise<void>[] = [];
    for (const store of this.#stores.values()) {
      const onError = (error: unknown, what: string) =>
        this.log.warn({ err: error, kind: store.type.kind }, `${what} failed; trying again`);
      filled.push(store.whenSynced());
      this.#reflectors.push(
        reflect({ client, store, clock, onError, selector: store.type.namespaced ? selector : {} }, this.#abort.signal),
      );
    }
    await Promise.all(filled);
    for (const service of this.#services) await service.start();
    for (const controller of this.#controllers) controller.start();
  }

  /** Stops controllers, then services in reverse order, sends the last events, and ends the watches. */
  async stop(): Promise<void> {
    let cancel = () => {};
    const timeUp = new Promise<void>((resolve) => {
      cancel = this.clock.after(stopTimeoutMs, resolve);
    });
    await Promise.race([Promise.all(this.#controllers.map((controller) => controller.stop())), timeUp]);
    cancel();
    for (const service of this.#services.toReversed()) await service.stop();
    await this.events.flush();
    this.#abort.abort();
    await Promise.all(this.#reflectors);
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
}
