// Read your own writes: remembers the versions that a reconcile wrote, so that the next one of the same object waits until the stores show them.
import type { KubeClient, KubeObject, ResourceType } from '#operator/kube/client.ts';
import type { Store } from './store.ts';

/** Newest version written per kind. */
export type WrittenVersions = Map<string, string>;

const kindOf = (type: ResourceType) => `${type.group}/${type.kind}`;

/** The client, with each write's version recorded in `written`. */
export function recordWrites(client: KubeClient, written: WrittenVersions): KubeClient {
  const record = async <T extends KubeObject>(type: ResourceType<T>, answer: Promise<T>): Promise<T> => {
    const object = await answer;
    const version = object.metadata.resourceVersion;
    if (version !== undefined && Number(version) > Number(written.get(kindOf(type)) ?? 0)) written.set(kindOf(type), version);
    return object;
  };
  return {
    get: (type, key) => client.get(type, key),
    list: (type, options) => client.list(type, options),
    watch: (type, options) => client.watch(type, options),
    create: (type, object) => record(type, client.create(type, object)),
    update: (type, object) => record(type, client.update(type, object)),
    apply: (type, object, options) => record(type, client.apply(type, object, options)),
    patchStatus: (type, key, patch, options) => record(type, client.patchStatus(type, key, patch, options)),
    delete: (type, key, options) => client.delete(type, key, options),
  };
}

/** Resolves when every store has seen what was written to its kind. Kinds without a store don't count. */
export async function storesReached(written: WrittenVersions, stores: readonly Store[]): Promise<void> {
  await Promise.all(stores.map((store) => store.reached(written.get(kindOf(store.type)) ?? '0')));
}
