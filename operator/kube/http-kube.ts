// The API of a cluster over HTTP: the same interface as the in-memory one, by the paths and verbs of Kubernetes.
import type { KubeObject, ObjectMeta, ResourceType } from '#crds/resource.ts';
import { apiVersionOf } from './client.ts';
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
import { isExpired, isInvalid, isNotFound, KubeError } from './errors.ts';
import { deepFreeze, isJsonObject } from './json.ts';
import type { JsonObject } from './json.ts';
import type { Transport } from './transport.ts';
import { watchEvents, watchQuery } from './watch.ts';

/** Objects of a page: what client-go asks for. One page of large pods is about 3 MB, parsed at once. */
const pageSize = 500;

/** What costs the API server a third less than the whole pod that was made. */
const metadataAlone = 'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1, application/json';

export interface HttpKubeOptions {
  /** A number in [0, 1) that spreads the ends of watches. */
  jitter?: () => number;
}

export class HttpKube implements KubeClient {
  readonly #transport: Transport;
  readonly #jitter: () => number;

  constructor(transport: Transport, options: HttpKubeOptions = {}) {
    this.#transport = transport;
    this.#jitter = options.jitter ?? Math.random;
  }

  async serves({ group, version, plural }: ResourceType): Promise<boolean> {
    const path = group === '' ? `/api/${version}` : `/apis/${group}/${version}`;
    try {
      const { resources = [] } = (await this.#transport.request({ method: 'GET', path })) as { resources?: { name: string }[] };
      return resources.some(({ name }) => name === plural);
    } catch (error) {
      if (isNotFound(error)) return false;
      throw error;
    }
  }

  async get<T extends KubeObject>(type: ResourceType<T>, key: ObjectKey): Promise<T> {
    return received(type, await this.#transport.request({ method: 'GET', path: pathOf(type, key) }));
  }

  /** Page by page, all of one version. If that version expires in between, everything is fetched at once. */
  async list<T extends KubeObject>(type: ResourceType<T>, options: ListOptions = {}): Promise<Listed<T>> {
    const pages: Listed<T>[] = [];
    let next: string | undefined;
    let limit: string | undefined = String(pageSize);
    for (;;) {
      try {
        const page: Listed<T> & { next?: string } = await this.#page(type, options, { limit, continue: next });
        pages.push(page);
        next = page.next;
      } catch (error) {
        if (!isExpired(error) || next === undefined) throw error;
        pages.length = 0;
        next = limit = undefined;
        continue;
      }
      if (next === undefined)
        return { items: pages.flatMap(({ items }) => items), resourceVersion: pages.at(-1)!.resourceVersion };
    }
  }

  async *watch<T extends KubeObject>(type: ResourceType<T>, options: WatchOptions): AsyncGenerator<WatchEvent<T>> {
    try {
      yield* this.#watchFrom(type, options, options.resourceVersion);
    } catch (error) {
      // A server without WatchList refuses it as invalid.
      if (options.resourceVersion !== undefined || !isInvalid(error)) throw error;
      const { items, resourceVersion } = await this.list(type, options);
      for (const object of items) yield { type: 'ADDED', object };
      if (options.bookmarks) yield { type: 'BOOKMARK', resourceVersion, initialEventsEnd: true };
      yield* this.#watchFrom(type, options, resourceVersion);
    }
  }

  #watchFrom<T extends KubeObject>(type: ResourceType<T>, options: WatchOptions, resourceVersion: string | undefined) {
    const path = pathWith(collectionOf(type, options.namespace), {
      ...selectorOf(options),
      ...watchQuery(resourceVersion, this.#jitter()),
    });
    const chunks = this.#transport.stream({ method: 'GET', path }, options.signal);
    return watchEvents<T>(chunks, (raw) => received(type, raw), options);
  }

  async create<T extends KubeObject>(type: ResourceType<T>, object: T): Promise<T> {
    const path = collectionOf(type, object.metadata.namespace);
    return received(type, await this.#transport.request({ method: 'POST', path, body: object }));
  }

  async createUnread<T extends KubeObject>(type: ResourceType<T>, object: T): Promise<KubeObject> {
    const path = collectionOf(type, object.metadata.namespace);
    const answer = (await this.#transport.request({ method: 'POST', path, body: object, accept: metadataAlone })) as KubeObject;
    return received<KubeObject>(type, { apiVersion: apiVersionOf(type), kind: type.kind, metadata: answer.metadata });
  }

  async update<T extends KubeObject>(type: ResourceType<T>, object: T): Promise<T> {
    const path = pathOf(type, object.metadata);
    return received(type, await this.#transport.request({ method: 'PUT', path, body: object }));
  }

  async patch<T extends KubeObject>(
    type: ResourceType<T>,
    key: ObjectKey,
    patch: object,
    options: Preconditions = {},
  ): Promise<T> {
    const { status: _, ...body } = patch as JsonObject;
    return this.#merge(type, pathOf(type, key), body, options);
  }

  async apply<T extends KubeObject>(type: ResourceType<T>, object: Applied<T>, options: ApplyOptions): Promise<T> {
    const { status: _, ...body } = object as unknown as JsonObject;
    const { fieldManager, force = false } = options;
    const path = pathWith(pathOf(type, object.metadata), { fieldManager, force: String(force) });
    const contentType = 'application/apply-patch+yaml';
    return received(type, await this.#transport.request({ method: 'PATCH', path, body, contentType }));
  }

  async patchStatus<T extends KubeObject>(
    type: ResourceType<T>,
    key: ObjectKey,
    patch: object,
    options: Preconditions = {},
  ): Promise<T> {
    let { resourceVersion } = options;
    if (options.uid !== undefined && resourceVersion === undefined) {
      // The status subresource takes no notice of a uid; a version says it too.
      const { metadata } = await this.get(type, key);
      if (metadata.uid !== options.uid)
        throw new KubeError('Conflict', `${type.kind} ${key.name} is another object: uid ${metadata.uid}, not ${options.uid}`);
      ({ resourceVersion } = metadata);
    }
    return this.#merge(type, `${pathOf(type, key)}/status`, { status: patch }, { resourceVersion });
  }

  async delete<T extends KubeObject>(type: ResourceType<T>, key: ObjectKey, options: DeleteOptions = {}): Promise<T | undefined> {
    const { uid, resourceVersion, propagation = 'Background', gracePeriodSeconds } = options;
    const body = { propagationPolicy: propagation, gracePeriodSeconds, preconditions: { uid, resourceVersion } };
    const answer = await this.#transport.request({ method: 'DELETE', path: pathOf(type, key), body });
    // A Status says that it is gone. Some kinds answer with the object itself: then it is only marked if it waits for something.
    if (!isJsonObject(answer) || answer['kind'] !== type.kind) return undefined;
    const left = received(type, answer);
    const { deletionTimestamp, deletionGracePeriodSeconds = 0, finalizers = [] } = left.metadata;
    const isLeft = deletionTimestamp !== undefined && (deletionGracePeriodSeconds > 0 || finalizers.length > 0);
    return isLeft ? left : undefined;
  }

  async #merge<T extends KubeObject>(
    type: ResourceType<T>,
    path: string,
    patch: JsonObject,
    { uid, resourceVersion }: Preconditions,
  ): Promise<T> {
    const metadata = isJsonObject(patch['metadata']) ? patch['metadata'] : {};
    const body = { ...patch, metadata: { ...metadata, uid, resourceVersion } };
    const contentType = 'application/merge-patch+json';
    return received(type, await this.#transport.request({ method: 'PATCH', path, body, contentType }));
  }

  async #page<T extends KubeObject>(
    type: ResourceType<T>,
    options: ListOptions,
    query: Record<string, string | undefined>,
  ): Promise<Listed<T> & { next?: string }> {
    const path = pathWith(collectionOf(type, options.namespace), { ...selectorOf(options), ...query });
    const answer = await this.#transport.request({ method: 'GET', path });
    const { items = [], metadata = {} } = answer as {
      items?: object[];
      metadata?: { resourceVersion?: string; continue?: string };
    };
    return {
      items: items.map((item) => received(type, item)),
      resourceVersion: metadata.resourceVersion ?? '',
      ...(metadata.continue ? { next: metadata.continue } : {}),
    };
  }
}

/**
 * An object as it came, without the books on who owns which field: they are half of its size, and nobody here reads them. Items of a list
 * do not say what they are.
 */
function received<T extends KubeObject>(type: ResourceType<T>, raw: unknown): T {
  const object = raw as T;
  object.apiVersion ??= apiVersionOf(type);
  object.kind ??= type.kind;
  const { managedFields: _, ...metadata } = object.metadata as ObjectMeta & { managedFields?: unknown };
  object.metadata = metadata;
  return deepFreeze(object);
}

function collectionOf(type: ResourceType, namespace: string | undefined): string {
  const root = type.group === '' ? `/api/${type.version}` : `/apis/${type.group}/${type.version}`;
  const scope = type.namespaced && namespace !== undefined ? `/namespaces/${encodeURIComponent(namespace)}` : '';
  return `${root}${scope}/${type.plural}`;
}

function pathOf(type: ResourceType, key: ObjectKey): string {
  return `${collectionOf(type, key.namespace)}/${encodeURIComponent(key.name)}`;
}

function selectorOf({ labels, fields }: ListOptions): Record<string, string> {
  const pairs = (wanted: Readonly<Record<string, string>>) =>
    Object.entries(wanted)
      .map(([name, value]) => `${name}=${value}`)
      .join(',');
  const [labelSelector, fieldSelector] = [pairs(labels ?? {}), pairs(fields ?? {})];
  return { ...(labelSelector ? { labelSelector } : {}), ...(fieldSelector ? { fieldSelector } : {}) };
}

function pathWith(path: string, query: Record<string, string | undefined>): string {
  const given = Object.entries(query).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return `${path}?${new URLSearchParams(given).toString()}`;
}
