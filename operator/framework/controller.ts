// Runs reconciles: events become keys, workers take them, failures come back with growing delay.
import { formatKey, keyOf, parseKey } from '#operator/kube/client.ts';
import type { KubeClient, KubeObject, ObjectKey, ResourceType } from '#operator/kube/client.ts';
import { sleep } from '#operator/kube/clock.ts';
import type { Clock } from '#operator/kube/clock.ts';
import { isAlreadyExists, isConflict } from '#operator/kube/errors.ts';
import type { Logger } from 'pino';
import type { Metrics, ReconcileOutcome } from './metrics.ts';
import { NotLeadingError } from './leadership.ts';
import type { Store, StoreChange } from './store.ts';
import { lowPriority, WorkQueue } from './work-queue.ts';
import type { Taken } from './work-queue.ts';
import { createWrittenVersions, recordWrites } from './write-barrier.ts';
import type { WrittenVersions } from './write-barrier.ts';

export interface ReconcileContext {
  /** Records what is written; the next reconcile of the same object sees it in the stores. */
  client: KubeClient;
  /** Aborts when the reconcile takes too long or the controller stops. */
  signal: AbortSignal;
  log: Logger;
}

export interface ReconcileResult {
  /** Reconciles again after this time, if nothing happens before. */
  requeueAfterMs?: number | undefined;
}

/** A failure that trying again would not mend. */
export class TerminalError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'TerminalError';
  }
}

export interface Watched<T extends KubeObject = KubeObject> {
  store: Store<T>;
  /** Which objects of the controller's kind a change of `object` matters to. */
  map: (object: T) => readonly ObjectKey[];
}

/** Watches another kind. */
export function watched<T extends KubeObject>(store: Store<T>, map: Watched<T>['map']): Watched {
  return { store, map } as unknown as Watched;
}

export interface ControllerSpec {
  name: string;
  /** The kind that is reconciled. */
  primary: Store;
  /** Kinds whose objects have an owner of the primary kind. */
  owns?: readonly Store[];
  watches?: readonly Watched[];
  /** Reconciles at the same time, of different objects. */
  workers?: number;
  /** Time after which the signal of a reconcile aborts. */
  timeoutMs?: number;
  reconcile: (key: ObjectKey, context: ReconcileContext) => Promise<ReconcileResult>;
}

export interface ControllerEnvironment {
  client: KubeClient;
  clock: Clock;
  log: Logger;
  metrics: Metrics;
}

const defaultTimeoutMs = 60_000;
/** Longest wait for a store to show our own writes; then the reconcile goes on with what is there. */
const barrierTimeoutMs = 10_000;

export class Controller {
  readonly spec: ControllerSpec;
  readonly queue: WorkQueue;
  readonly #env: ControllerEnvironment;
  readonly #log: Logger;
  readonly #written = new Map<string, WrittenVersions>();
  readonly #abort = new AbortController();
  #workers: Promise<void>[] = [];
  /** Keys of changes that came together, to be queued when all of them are in the stores; with their priority. */
  readonly #changed = new Map<string, number>();

  constructor(spec: ControllerSpec, env: ControllerEnvironment) {
    this.spec = spec;
    this.#env = env;
    this.#log = env.log.child({ controller: spec.name });
    const labels = { name: spec.name, controller: spec.name };
    const { metrics } = env;
    this.queue = new WorkQueue({
      clock: env.clock,
      onAdd: () => metrics.queueAdds.inc(labels),
      onRetry: () => metrics.queueRetries.inc(labels),
    });
    metrics.maxConcurrent.set({ controller: spec.name }, spec.workers ?? 1);
    // A series that begins with its first fault shows no rise.
    for (const faults of [metrics.errors, metrics.terminalErrors, metrics.panics, metrics.timeouts])
      faults.inc({ controller: spec.name }, 0);
    metrics.queueRetries.inc(labels, 0);
    this.#connect();
  }

  start(): void {
    this.#workers = Array.from({ length: this.spec.workers ?? 1 }, () => this.#work());
  }

  /** Stops taking keys, aborts the reconciles that run, and waits for them. */
  async stop(): Promise<void> {
    this.queue.close();
    this.#abort.abort();
    await Promise.all(this.#workers);
  }

  /** Whether nothing waits or runs. Keys that are delayed don't count. */
  get idle(): boolean {
    return this.#changed.size === 0 && this.queue.idle;
  }

  /** Brings the gauges up to date; called before they are read. */
  measure(): void {
    const { metrics, clock } = this.#env;
    const labels = { name: this.spec.name, controller: this.spec.name };
    const ages = this.queue.startTimes.map((startedAt) => (clock.now() - startedAt) / 1000);
    for (const [priority, depth] of this.queue.depths) metrics.queueDepth.set({ ...labels, priority: String(priority) }, depth);
    metrics.unfinishedSeconds.set(
      labels,
      ages.reduce((sum, age) => sum + age, 0),
    );
    metrics.longestSeconds.set(labels, Math.max(0, ...ages));
  }

  #connect(): void {
    const { primary, owns = [], watches = [] } = this.spec;
    const listen = <T extends KubeObject>(store: Store<T>, keys: (object: T) => readonly ObjectKey[]) =>
      store.onChange((change: StoreChange<T>) => {
        const objects = [change.object, change.old].filter((object) => object !== undefined);
        for (const object of objects) for (const key of keys(object)) this.#queueSoon(formatKey(key), change.listed);
      });
    listen(primary, (object) => [keyOf(object)]);
    for (const store of owns) listen(store, (object) => ownerKeys(object, primary.type));
    for (const { store, map } of watches) listen(store, map);
  }

  /** A watch tells of many pods of a job in one go: one reconcile is enough for them. */
  #queueSoon(key: string, listed: boolean): void {
    if (this.#changed.size === 0) setImmediate(() => this.#queueChanged());
    this.#changed.set(key, Math.max(listed ? lowPriority : 0, this.#changed.get(key) ?? lowPriority));
  }

  #queueChanged(): void {
    for (const [key, priority] of this.#changed) this.queue.add(key, priority);
    this.#changed.clear();
  }

  async #work(): Promise<void> {
    for (let taken = await this.queue.take(); taken; taken = await this.queue.take()) {
      await this.#process(taken);
      this.queue.done(taken.key);
    }
  }

  async #process({ key, addedAt, priority }: Taken): Promise<void> {
    const { clock, metrics } = this.#env;
    const controller = this.spec.name;
    const labels = { name: controller, controller };
    metrics.queueSeconds.observe(labels, (clock.now() - addedAt) / 1000);
    metrics.activeWorkers.inc({ controller });
    const startedAt = clock.now();
    let outcome: ReconcileOutcome;
    try {
      await this.#ownWritesSeen(key);
      const { requeueAfterMs } = await this.#reconcile(key);
      this.queue.forget(key);
      if (requeueAfterMs !== undefined) this.queue.addAfter(key, requeueAfterMs, priority);
      outcome = requeueAfterMs === undefined ? 'success' : 'requeue_after';
    } catch (error) {
      outcome = this.#failed(key, priority, error);
    }
    const seconds = (clock.now() - startedAt) / 1000;
    metrics.activeWorkers.dec({ controller });
    metrics.workSeconds.observe(labels, seconds);
    metrics.reconcileSeconds.observe({ controller }, seconds);
    metrics.reconciles.inc({ controller, result: outcome });
  }

  #failed(key: string, priority: number, error: unknown): ReconcileOutcome {
    const { metrics } = this.#env;
    const labels = { controller: this.spec.name };
    if (this.#abort.signal.aborted) return 'requeue';
    if (error instanceof TerminalError) {
      metrics.terminalErrors.inc(labels);
      metrics.errors.inc(labels);
      this.#log.error({ key, err: error }, 'reconcile failed for good');
      return 'error';
    }
    this.queue.addAfterFailure(key, priority);
    if (isConflict(error) || isAlreadyExists(error)) {
      this.#log.debug({ key, err: error }, 'object changed meanwhile; reconciling again');
      return 'requeue';
    }
    if (error instanceof NotLeadingError) {
      this.#log.debug({ key, err: error }, 'this process does not lead at the moment; reconciling again');
      return 'requeue';
    }
    if (error instanceof TypeError || error instanceof RangeError || error instanceof ReferenceError) metrics.panics.inc(labels);
    metrics.errors.inc(labels);
    this.#log.error({ key, err: error, failures: this.queue.failures(key) }, 'reconcile failed');
    return 'error';
  }

  async #reconcile(key: string): Promise<ReconcileResult> {
    const { clock, metrics, client } = this.#env;
    const abort = new AbortController();
    const stopped = () => abort.abort();
    this.#abort.signal.addEventListener('abort', stopped, { once: true });
    const cancelTimeout = clock.after(this.spec.timeoutMs ?? defaultTimeoutMs, () => {
      metrics.timeouts.inc({ controller: this.spec.name });
      abort.abort(new Error(`reconcile of ${key} took longer than ${this.spec.timeoutMs ?? defaultTimeoutMs} ms`));
    });
    const written = createWrittenVersions();
    try {
      return await this.spec.reconcile(parseKey(key), {
        client: recordWrites(client, written),
        signal: abort.signal,
        log: this.#log.child({ key }),
      });
    } finally {
      cancelTimeout();
      this.#abort.signal.removeEventListener('abort', stopped);
      if (!written.isEmpty) this.#written.set(key, written);
    }
  }

  async #ownWritesSeen(key: string): Promise<void> {
    const written = this.#written.get(key);
    if (!written) return;
    this.#written.delete(key);
    const { primary, owns = [], watches = [] } = this.spec;
    const timeUp = new AbortController();
    const waiting = sleep(this.#env.clock, barrierTimeoutMs, AbortSignal.any([timeUp.signal, this.#abort.signal]));
    const stores = [primary, ...owns, ...watches.map(({ store }) => store)];
    await Promise.race([Promise.all(stores.map((store) => written.seenBy(store))), waiting]);
    timeUp.abort();
  }
}

/** Owners of the given kind that control the object. */
function ownerKeys(object: KubeObject, type: ResourceType): ObjectKey[] {
  return (object.metadata.ownerReferences ?? [])
    .filter((owner) => owner.controller === true && owner.kind === type.kind && owner.apiVersion.startsWith(`${type.group}/`))
    .map((owner) => ({ namespace: type.namespaced ? object.metadata.namespace : undefined, name: owner.name }));
}
