// The API in memory: resource versions, conflicts, watch, finalizers, owner garbage collection. The embedded default and the double in tests.
import type { KubeObject, ObjectMeta, ResourceType } from '#crds/resource.ts';
import { deepEqual } from '#crds/rules.ts';
import { resources } from '#crds/v1alpha1/index.ts';
import { randomUUID } from 'node:crypto';
import { admit, admitStatus, readStored, statusDefault } from './admission.ts';
import { applyConfig } from './apply.ts';
import type { FieldOwners } from './apply.ts';
import { formatKey } from './client.ts';
import type {
  Applied,
  ApplyOptions,
  DeleteOptions,
  KubeClient,
  Listed,
  ListOptions,
  ObjectKey,
  Preconditions,
  WatchEvent,
  WatchOptions,
} from './client.ts';
import { isoTime, systemClock } from './clock.ts';
import type { Clock } from './clock.ts';
import { Event, Lease, Pod, Service } from './core.ts';
import { KubeError } from './errors.ts';
import { EventLog, isSelected } from './event-log.ts';
import { deepFreeze, jsonCopy, mergePatch } from './json.ts';
import type { JsonObject } from './json.ts';

export interface MemoryKubeOptions {
  clock?: Clock;
  /** Makes uids; random if absent. */
  uid?: () => string;
  /** Changes that a watch can still be resumed from. */
  watchWindow?: number;
  /** Kinds beyond ours and those that every cluster has. */
  alsoServes?: readonly ResourceType[];
  /** State to start from. */
  snapshot?: Snapshot;
}

/** Events kept, as a cluster keeps them for an hour: the newest. */
const maxEvents = 1000;

interface Stored {
  type: ResourceType;
  object: KubeObject;
  owners: FieldOwners;
}

/** Everything that the API holds, as JSON. */
export interface Snapshot {
  resourceVersion: number;
  objects: Stored[];
}

type Body = KubeObject & { spec?: JsonObject; status?: unknown };

export class MemoryKube implements KubeClient {
  readonly #clock: Clock;
  readonly #uid: () => string;
  readonly #log: EventLog;
  readonly #objects = new Map<string, Stored>();
  readonly #uids = new Set<string>();
  readonly #events: Stored[] = [];
  readonly #listeners = new Set<() => void>();
  readonly #served: readonly ResourceType[];
  #version: number;

  constructor(options: MemoryKubeOptions = {}) {
    this.#clock = options.clock ?? systemClock;
    this.#uid = options.uid ?? randomUUID;
    this.#served = [...resources, Pod, Service, Event, Lease, ...(options.alsoServes ?? [])];
    this.#version = options.snapshot?.resourceVersion ?? 0;
    this.#log = new EventLog(options.watchWindow ?? 4096, this.#version);
    for (const stored of options.snapshot?.objects ?? []) {
      const copy = jsonCopy(stored);
      copy.object = deepFreeze(jsonCopy(readStored(copy.type, copy.object)));
      this.#hold(copy);
    }
  }

  snapshot(): Snapshot {
    return { resourceVersion: this.#version, objects: [...this.#objects.values()] };
  }

  /** Calls `listener` after every change; returns the way to stop. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Makes every watch from an older version expire, as compaction of a cluster's store does. */
  compact(): void {
    this.#log.compact(this.#version);
  }

  async serves({ group, version, kind }: ResourceType): Promise<boolean> {
    return this.#served.some((type) => type.group === group && type.version === version && type.kind === kind);
  }

  async get<T extends KubeObject>(type: ResourceType<T>, key: ObjectKey): Promise<T> {
    return this.#stored(type, key).object as T;
  }

  async list<T extends KubeObject>(type: ResourceType<T>, options: ListOptions = {}): Promise<Listed<T>> {
    return { items: this.#select(type, options), resourceVersion: String(this.#version) };
  }

  async *watch<T extends KubeObject>(type: ResourceType<T>, options: WatchOptions): AsyncGenerator<WatchEvent<T>> {
    let version = Number(options.resourceVersion ?? this.#version);
    if (!Number.isSafeInteger(version))
      throw new KubeError('BadRequest', `resource version ${options.resourceVersion} is not a number`);
    if (options.resourceVersion === undefined) {
      for (const object of this.#select(type, options)) yield { type: 'ADDED', object };
      if (options.bookmarks) yield { type: 'BOOKMARK', resourceVersion: String(version), initialEventsEnd: true };
    }
    yield* this.#log.follow(type, options, version);
  }

  async create<T extends KubeObject>(type: ResourceType<T>, object: T): Promise<T> {
    return this.#insert(type, object, {});
  }

  async createUnread<T extends KubeObject>(type: ResourceType<T>, object: T): Promise<KubeObject> {
    const { apiVersion, kind, metadata } = await this.create(type, object);
    return deepFreeze({ apiVersion, kind, metadata });
  }

  async update<T extends KubeObject>(type: ResourceType<T>, object: T): Promise<T> {
    const stored = this.#stored(type, object.metadata);
    checkPreconditions(type, stored.object, object.metadata);
    return this.#replace(stored, { ...object, ...statusOf(stored.object) }) as T;
  }

  async apply<T extends KubeObject>(type: ResourceType<T>, object: Applied<T>, options: ApplyOptions): Promise<T> {
    const config = jsonCopy(object) as unknown as JsonObject;
    delete config['status'];
    const stored = this.#objects.get(slot(type, object.metadata));
    const force = options.force ?? false;
    if (!stored) {
      const made = applyConfig({}, config, {}, options.fieldManager, force);
      const identity = { apiVersion: object.apiVersion, kind: object.kind, metadata: object.metadata };
      return this.#insert(type, { ...made.object, ...identity } as unknown as T, made.owners);
    }
    checkPreconditions(type, stored.object, object.metadata);
    const merged = applyConfig(stored.object as unknown as JsonObject, config, stored.owners, options.fieldManager, force);
    const replaced = this.#replace(stored, merged.object as unknown as T) as T;
    const kept = this.#objects.get(slot(type, object.metadata));
    if (kept) kept.owners = merged.owners;
    return replaced;
  }

  async patch<T extends KubeObject>(
    type: ResourceType<T>,
    key: ObjectKey,
    patch: object,
    options: Preconditions = {},
  ): Promise<T> {
    const stored = this.#stored(type, key);
    checkPreconditions(type, stored.object, options);
    const { status: _, ...body } = jsonCopy(patch) as JsonObject;
    return this.#replace(stored, mergePatch(stored.object, body) as KubeObject) as T;
  }

  async patchStatus<T extends KubeObject>(
    type: ResourceType<T>,
    key: ObjectKey,
    patch: object,
    options: Preconditions = {},
  ): Promise<T> {
    const stored = this.#stored(type, key);
    checkPreconditions(type, stored.object, options);
    const merged = mergePatch((stored.object as Body).status ?? {}, jsonCopy(patch));
    return this.#commit(stored, { ...stored.object, status: admitStatus(type, stored.object, merged) } as KubeObject) as T;
  }

  async delete<T extends KubeObject>(type: ResourceType<T>, key: ObjectKey, options: DeleteOptions = {}): Promise<T | undefined> {
    const stored = this.#stored(type, key);
    checkPreconditions(type, stored.object, options);
    this.#delete(stored, options);
    return this.#objects.get(slot(type, key))?.object as T | undefined;
  }

  #insert<T extends KubeObject>(type: ResourceType<T>, object: T, owners: FieldOwners): T {
    const { status: _, ...body } = jsonCopy(object) as Body;
    const admitted = admit(type as ResourceType, body, undefined) as Body;
    const at = slot(type, admitted.metadata);
    if (this.#objects.has(at)) throw new KubeError('AlreadyExists', `${describe(type, admitted.metadata)} already exists`);
    const metadata: ObjectMeta = {
      ...admitted.metadata,
      uid: this.#uid(),
      creationTimestamp: isoTime(this.#clock.now()),
      resourceVersion: this.#nextVersion(),
    };
    delete metadata.deletionTimestamp;
    if (admitted.spec !== undefined) metadata.generation = 1;
    const stored: Stored = { type, object: deepFreeze({ ...admitted, ...statusDefault(type), metadata }), owners };
    this.#hold(stored);
    this.#announce({ version: this.#version, type, event: 'ADDED', object: stored.object });
    const references = metadata.ownerReferences ?? [];
    if (references.length > 0 && !references.some((owner) => this.#uids.has(owner.uid))) this.#delete(stored, {});
    return stored.object as T;
  }

  #hold(stored: Stored): void {
    const { type, object } = stored;
    this.#objects.set(slot(type, object.metadata), stored);
    this.#uids.add(object.metadata.uid!);
    if (type.kind !== 'Event') return;
    this.#events.push(stored);
    if (this.#events.length > maxEvents) this.#remove(this.#events.shift()!, 'Background');
  }

  /** Takes spec and labels of `next`; what only the server may set stays as it was. */
  #replace(stored: Stored, next: KubeObject): KubeObject {
    const before = stored.object as Body;
    const after = admit(stored.type, jsonCopy(next) as Body, before) as Body;
    const { uid, creationTimestamp, resourceVersion, deletionTimestamp, deletionGracePeriodSeconds, generation } =
      before.metadata;
    const metadata = jsonCopy({
      ...after.metadata,
      uid,
      creationTimestamp,
      resourceVersion,
      deletionTimestamp,
      deletionGracePeriodSeconds,
      generation: generation !== undefined && !deepEqual(before.spec, after.spec) ? generation + 1 : generation,
    }) as ObjectMeta;
    const replaced = this.#commit(stored, { ...after, metadata });
    if (metadata.deletionTimestamp !== undefined && isReleased(replaced)) this.#remove(stored, 'Background');
    return replaced;
  }

  #commit(stored: Stored, next: KubeObject): KubeObject {
    const before = stored.object;
    if (deepEqual(before, next)) return before;
    const metadata = { ...next.metadata, resourceVersion: this.#nextVersion() };
    stored.object = deepFreeze(jsonCopy({ ...next, metadata }));
    this.#announce({ version: this.#version, type: stored.type, event: 'MODIFIED', object: stored.object, before });
    return stored.object;
  }

  #delete(stored: Stored, options: DeleteOptions): void {
    const { object, type } = stored;
    const graceSeconds = graceOf(type, object, options);
    if (graceSeconds === 0 && (object.metadata.finalizers ?? []).length === 0) {
      this.#remove(stored, options.propagation ?? 'Background');
      return;
    }
    const pending =
      object.metadata.deletionTimestamp === undefined ? Infinity : (object.metadata.deletionGracePeriodSeconds ?? 0);
    if (graceSeconds >= pending) return;
    const deletionTimestamp = isoTime(this.#clock.now() + graceSeconds * 1000);
    const metadata = { ...object.metadata, deletionTimestamp, deletionGracePeriodSeconds: graceSeconds };
    this.#commit(stored, { ...object, metadata });
  }

  #remove(stored: Stored, propagation: 'Background' | 'Orphan'): void {
    const { object, type } = stored;
    if (!this.#objects.delete(slot(type, object.metadata))) return;
    this.#uids.delete(object.metadata.uid!);
    const last = deepFreeze({ ...object, metadata: { ...object.metadata, resourceVersion: this.#nextVersion() } });
    this.#announce({ version: this.#version, type, event: 'DELETED', object: last, before: object });
    for (const dependent of this.#objects.values()) {
      const references = dependent.object.metadata.ownerReferences ?? [];
      const rest = references.filter((owner) => owner.uid !== object.metadata.uid);
      if (rest.length === references.length) continue;
      if (propagation === 'Background' && !rest.some((owner) => this.#uids.has(owner.uid))) this.#delete(dependent, {});
      else this.#commit(dependent, { ...dependent.object, metadata: { ...dependent.object.metadata, ownerReferences: rest } });
    }
  }

  #announce(change: Parameters<EventLog['append']>[0]): void {
    this.#log.append(change);
    for (const listener of this.#listeners) listener();
  }

  #nextVersion(): string {
    return String(++this.#version);
  }

  #stored(type: ResourceType, key: ObjectKey): Stored {
    const stored = this.#objects.get(slot(type, key));
    if (!stored) throw new KubeError('NotFound', `${describe(type, key)} does not exist`);
    return stored;
  }

  #select<T extends KubeObject>(type: ResourceType<T>, options: ListOptions): T[] {
    const all = [...this.#objects.values()].filter(
      (stored) => stored.type.kind === type.kind && stored.type.group === type.group,
    );
    return all.map((stored) => stored.object as T).filter((object) => isSelected(object, options));
  }
}

function slot(type: ResourceType, key: ObjectKey): string {
  return `${type.group}/${type.kind}/${formatKey({ namespace: type.namespaced ? key.namespace : undefined, name: key.name })}`;
}

function describe(type: ResourceType, key: ObjectKey): string {
  return `${type.kind} ${formatKey(key)}`;
}

function statusOf(object: KubeObject): { status?: unknown } {
  return 'status' in object ? { status: object.status } : {};
}

function checkPreconditions(type: ResourceType, object: KubeObject, wanted: Preconditions): void {
  const { uid, resourceVersion } = object.metadata;
  if (wanted.uid !== undefined && wanted.uid !== uid) {
    throw new KubeError('Conflict', `${describe(type, object.metadata)} is another object: uid ${uid}, not ${wanted.uid}`);
  }
  if (wanted.resourceVersion !== undefined && wanted.resourceVersion !== resourceVersion) {
    throw new KubeError(
      'Conflict',
      `${describe(type, object.metadata)} changed: version ${resourceVersion}, not ${wanted.resourceVersion}`,
    );
  }
}

function isReleased(object: KubeObject): boolean {
  return (object.metadata.finalizers ?? []).length === 0 && (object.metadata.deletionGracePeriodSeconds ?? 0) === 0;
}

/** Only a pod that a kubelet may be running gets time to end. */
function graceOf(type: ResourceType, object: KubeObject, options: DeleteOptions): number {
  if (type.kind !== 'Pod' || type.group !== '') return 0;
  const { spec, status } = object as KubeObject & { spec: JsonObject; status?: { phase?: string } };
  if (spec['nodeName'] === undefined || status?.phase === 'Succeeded' || status?.phase === 'Failed') return 0;
  return options.gracePeriodSeconds ?? Number(spec['terminationGracePeriodSeconds'] ?? 30);
}
