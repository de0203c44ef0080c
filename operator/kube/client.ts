// The one door to the API: typed by kind, the same for a cluster and for the in-memory API.
import type { KubeObject, ResourceType } from '#crds/resource.ts';

export type { KubeObject, ResourceType } from '#crds/resource.ts';

/** Where an object is. `namespace` is absent for cluster-scoped kinds only. */
export interface ObjectKey {
  namespace?: string | undefined;
  name: string;
}

export interface ListOptions {
  /** All namespaces if absent. */
  namespace?: string | undefined;
  /** Labels that must be equal. */
  labels?: Readonly<Record<string, string>> | undefined;
  /** Fields that must be equal, by their path, such as `spec.unschedulable`: those that the API server selects by. */
  fields?: Readonly<Record<string, string>> | undefined;
}

export interface WatchOptions extends ListOptions {
  /** Changes after this version. Absent: first an ADDED for everything that exists. */
  resourceVersion?: string | undefined;
  /** Asks for BOOKMARK events: one after everything that existed, and some later, so that a quiet watch does not fall out of the window. */
  bookmarks?: boolean;
  /** Ends the iteration without an error. */
  signal: AbortSignal;
}

export type WatchEvent<T> =
  | { type: 'ADDED' | 'MODIFIED' | 'DELETED'; object: T }
  /** Nothing changed up to this version. `initialEventsEnd`: everything that existed when the watch began has been told. */
  | { type: 'BOOKMARK'; resourceVersion: string; initialEventsEnd?: true };

export interface Listed<T> {
  items: T[];
  /** Version that a watch continues from. */
  resourceVersion: string;
}

export interface ApplyOptions {
  /** Who owns the fields applied. A field that its owner no longer applies is removed. */
  fieldManager: string;
  /** Takes fields over from other owners instead of failing with a conflict. */
  force?: boolean;
}

/** What must be true of the object for a write to happen. */
export interface Preconditions {
  /** Fails with a conflict if the object is of another version. */
  resourceVersion?: string | undefined;
  /** Fails with a conflict if the object is another one of the same name. */
  uid?: string | undefined;
}

export interface DeleteOptions extends Preconditions {
  /** What happens to objects owned by this one. Background (default): they are deleted too. */
  propagation?: 'Background' | 'Orphan';
  /** Seconds that a pod's containers get to end; 0 removes the object at once (what a kubelet does when they have ended). */
  gracePeriodSeconds?: number;
}

/** What `apply` takes: an object with only the fields that the caller has an opinion on. */
export type Applied<T extends KubeObject> = Pick<T, 'apiVersion' | 'kind' | 'metadata'> & DeepPartial<Omit<T, keyof KubeObject>>;
type DeepPartial<T> = T extends readonly unknown[] ? T : T extends object ? { [K in keyof T]?: DeepPartial<T[K]> } : T;

/**
 * Objects that come back are deeply frozen. Every method throws `KubeError`; ask `isNotFound(error)` and its siblings instead of
 * comparing codes.
 */
export interface KubeClient {
  /** Whether the API has the kind, in this version: clusters differ. */
  serves(type: ResourceType): Promise<boolean>;
  get<T extends KubeObject>(type: ResourceType<T>, key: ObjectKey): Promise<T>;
  list<T extends KubeObject>(type: ResourceType<T>, options?: ListOptions): Promise<Listed<T>>;
  /**
   * May end at any time, to be resumed from the last version told. Throws an error that `isExpired` when `resourceVersion` is too old:
   * begin again without one.
   */
  watch<T extends KubeObject>(type: ResourceType<T>, options: WatchOptions): AsyncIterable<WatchEvent<T>>;
  create<T extends KubeObject>(type: ResourceType<T>, object: T): Promise<T>;
  /** Creates, and comes back with what every object has: where nobody reads the rest, the API server does not have to write it. */
  createUnread<T extends KubeObject>(type: ResourceType<T>, object: T): Promise<KubeObject>;
  /** Replaces everything but status. Conflict if `metadata.resourceVersion` is given and not the current one. */
  update<T extends KubeObject>(type: ResourceType<T>, object: T): Promise<T>;
  /** Creates, or merges the fields given (server-side apply). */
  apply<T extends KubeObject>(type: ResourceType<T>, object: Applied<T>, options: ApplyOptions): Promise<T>;
  /** Merges `patch` into everything but status (RFC 7386). */
  patch<T extends KubeObject>(type: ResourceType<T>, key: ObjectKey, patch: object, options?: Preconditions): Promise<T>;
  /** Merges `patch` into status (RFC 7386: null removes a key, lists are replaced). */
  patchStatus<T extends KubeObject>(type: ResourceType<T>, key: ObjectKey, patch: object, options?: Preconditions): Promise<T>;
  /** The object as it is left while it still ends; undefined when it is gone. */
  delete<T extends KubeObject>(type: ResourceType<T>, key: ObjectKey, options?: DeleteOptions): Promise<T | undefined>;
}

export function keyOf(object: KubeObject): ObjectKey {
  return { namespace: object.metadata.namespace, name: object.metadata.name };
}

/** `namespace/name`, or the bare name of a cluster-scoped object. */
export function formatKey(key: ObjectKey): string {
  return key.namespace === undefined ? key.name : `${key.namespace}/${key.name}`;
}

export function parseKey(text: string): ObjectKey {
  const slash = text.indexOf('/');
  return slash < 0 ? { name: text } : { namespace: text.slice(0, slash), name: text.slice(slash + 1) };
}

/** `apps/v1`, or `v1` for the core group. */
export function apiVersionOf(type: ResourceType): string {
  return type.group === '' ? type.version : `${type.group}/${type.version}`;
}

/** Whether the fields of an object have these values, as texts; what is absent is empty. */
export function matchesFields(object: KubeObject, fields: Readonly<Record<string, string>> | undefined): boolean {
  return Object.entries(fields ?? {}).every(([path, value]) => {
    const found = path.split('.').reduce<unknown>((inner, key) => (inner as Record<string, unknown> | undefined)?.[key], object);
    return (typeof found === 'string' ? found : (JSON.stringify(found) ?? '')) === value;
  });
}

export function matchesLabels(object: KubeObject, labels: Readonly<Record<string, string>> | undefined): boolean {
  return Object.entries(labels ?? {}).every(([name, value]) => object.metadata.labels?.[name] === value);
}
