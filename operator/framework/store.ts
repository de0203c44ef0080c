// The local copy of all objects of a kind, with named indexes.
import { formatKey, keyOf } from '#operator/kube/client.ts';
import type { KubeObject, ObjectKey, ResourceType } from '#operator/kube/client.ts';

export type IndexFunction<T> = (object: T) => readonly string[];

/** What a store tells: objects that changed. `old` is absent when an object appears, `object` when it goes. */
export interface StoreChange<T> {
  object?: T;
  old?: T;
  /** Whether it comes from a listing rather than from a change that was just made. */
  listed: boolean;
}

interface Part {
  version: number;
  synced: boolean;
  waiters: { version: number; resolve: () => void }[];
}

const byOwnerUid = 'ownerUid';

/** Objects of one kind as the reflector saw them last. Reads are synchronous; objects are frozen. */
export class Store<T extends KubeObject = KubeObject> {
  readonly type: ResourceType<T>;
  readonly #objects = new Map<string, T>();
  readonly #indexes: Map<string, { keys: IndexFunction<T>; slots: Map<string, Set<string>> }>;
  readonly #listeners: ((change: StoreChange<T>) => void)[] = [];
  /** What has been seen of each namespace that is watched by itself, or of all at once. */
  readonly #parts: Map<string | undefined, Part>;
  #onSynced: (() => void)[] = [];

  /** `namespaces`: those that are watched, each by itself; all at once if absent. */
  constructor(
    type: ResourceType<T>,
    indexes: Record<string, IndexFunction<T>> = {},
    namespaces: readonly (string | undefined)[] = [undefined],
  ) {
    this.type = type;
    this.#parts = new Map(namespaces.map((namespace) => [namespace, { version: 0, synced: false, waiters: [] }]));
    const all = { [byOwnerUid]: (object: T) => (object.metadata.ownerReferences ?? []).map((owner) => owner.uid), ...indexes };
    this.#indexes = new Map(Object.entries(all).map(([name, keys]) => [name, { keys, slots: new Map() }]));
  }

  /** Namespaces that are watched, each by itself; undefined stands for all at once. */
  get namespaces(): (string | undefined)[] {
    return [...this.#parts.keys()];
  }

  /** Whether the first listing has come, of every namespace. */
  get synced(): boolean {
    return [...this.#parts.values()].every((part) => part.synced);
  }

  /** Resolves when the first listing has come. */
  whenSynced(): Promise<void> {
    return this.synced ? Promise.resolve() : new Promise((resolve) => this.#onSynced.push(resolve));
  }

  get size(): number {
    return this.#objects.size;
  }

  get(key: ObjectKey): T | undefined {
    return this.#objects.get(formatKey(key));
  }

  list(namespace?: string): T[] {
    const all = [...this.#objects.values()];
    return namespace === undefined ? all : all.filter((object) => object.metadata.namespace === namespace);
  }

  /** Objects that an index function gave `value` for. Throws if there is no such index. */
  byIndex(name: string, value: string): T[] {
    const index = this.#indexes.get(name);
    if (!index) throw new Error(`internal: store of ${this.type.kind} has no index ${name}`);
    return [...(index.slots.get(value) ?? [])].map((key) => this.#objects.get(key)!);
  }

  ownedBy(uid: string): T[] {
    return this.byIndex(byOwnerUid, uid);
  }

  onChange(listener: (change: StoreChange<T>) => void): void {
    this.#listeners.push(listener);
  }

  /** Resolves when the store has seen the version that a write to an object of `namespace` answered with. */
  reached(resourceVersion: string, namespace?: string): Promise<void> {
    const part = this.#part(namespace);
    const version = Number(resourceVersion);
    // What can't be compared, or is not watched, can't be waited for: better to go on with what is there than to wait for ever.
    if (!part || !Number.isFinite(version) || version <= part.version) return Promise.resolve();
    return new Promise((resolve) => part.waiters.push({ version, resolve }));
  }

  /**
   * Replaces everything, or everything of a namespace, by a listing. An object of the same name but another uid counts as gone and come.
   */
  replaceAll(objects: readonly T[], resourceVersion: string, namespace?: string): void {
    const names = new Set(objects.map((object) => formatKey(keyOf(object))));
    for (const [key, old] of this.#objects) {
      const isListed = namespace === undefined || old.metadata.namespace === namespace;
      if (isListed && !names.has(key)) this.#remove(key, old, true);
    }
    for (const object of objects) this.#put(object, true);
    this.#part(namespace)!.synced = true;
    this.bookmark(resourceVersion, namespace);
    if (this.synced) for (const resolve of this.#onSynced.splice(0)) resolve();
  }

  upsert(object: T): void {
    this.#put(object, false);
    this.bookmark(object.metadata.resourceVersion ?? '0', object.metadata.namespace);
  }

  delete(object: T): void {
    const key = formatKey(keyOf(object));
    const old = this.#objects.get(key);
    if (old && old.metadata.uid === object.metadata.uid) this.#remove(key, old, false);
    this.bookmark(object.metadata.resourceVersion ?? '0', object.metadata.namespace);
  }

  /** Everything up to this version has been seen, of a namespace if each is watched by itself. */
  bookmark(resourceVersion: string, namespace?: string): void {
    const part = this.#part(namespace);
    const version = Number(resourceVersion);
    if (!part || !(version > part.version)) return;
    part.version = version;
    const ready = part.waiters.filter((waiter) => waiter.version <= version);
    part.waiters = part.waiters.filter((waiter) => waiter.version > version);
    for (const { resolve } of ready) resolve();
  }

  #part(namespace: string | undefined): Part | undefined {
    return this.#parts.get(undefined) ?? this.#parts.get(namespace);
  }

  #put(object: T, listed: boolean): void {
    const key = formatKey(keyOf(object));
    const old = this.#objects.get(key);
    if (old && old.metadata.uid !== object.metadata.uid) this.#remove(key, old, listed);
    else if (old && old.metadata.resourceVersion === object.metadata.resourceVersion) return;
    const before = this.#objects.get(key);
    if (before) this.#unindex(key, before);
    this.#objects.set(key, object);
    for (const { keys, slots } of this.#indexes.values()) {
      for (const value of keys(object)) {
        const slot = slots.get(value) ?? new Set();
        slots.set(value, slot.add(key));
      }
    }
    this.#tell(before ? { object, old: before, listed } : { object, listed });
  }

  #remove(key: string, old: T, listed: boolean): void {
    this.#objects.delete(key);
    this.#unindex(key, old);
    this.#tell({ old, listed });
  }

  #unindex(key: string, old: T): void {
    for (const { keys, slots } of this.#indexes.values()) {
      for (const value of keys(old)) {
        const slot = slots.get(value);
        slot?.delete(key);
        if (slot?.size === 0) slots.delete(value);
      }
    }
  }

  #tell(change: StoreChange<T>): void {
    for (const listener of this.#listeners) listener(change);
  }
}
