// Stands between a client and the API at its writes: to record them, to stop them, or in tests to fail before one or lose its answer.
import type { KubeObject } from '#crds/resource.ts';
import type { KubeClient, ObjectKey, ResourceType } from './client.ts';
import { keyOf } from './client.ts';

type WriteVerb = 'create' | 'update' | 'patch' | 'apply' | 'patchStatus' | 'delete';

/** What stands around each write: calls `act`, or does not, and gives or throws what the caller gets. */
export type AroundWrite = <R extends KubeObject | undefined>(
  verb: WriteVerb,
  type: ResourceType,
  key: ObjectKey,
  act: () => Promise<R>,
) => Promise<R>;

/** The client with `around` at each of its writes; reads pass. */
export function aroundWrites(client: KubeClient, around: AroundWrite): KubeClient {
  return {
    serves: (type) => client.serves(type),
    get: (type, key) => client.get(type, key),
    list: (type, options) => client.list(type, options),
    watch: (type, options) => client.watch(type, options),
    create: (type, object) => around('create', type, keyOf(object), () => client.create(type, object)),
    createUnread: (type, object) => around('create', type, keyOf(object), () => client.createUnread(type, object)),
    update: (type, object) => around('update', type, keyOf(object), () => client.update(type, object)),
    patch: (type, key, patch, options) => around('patch', type, key, () => client.patch(type, key, patch, options)),
    apply: (type, object, options) =>
      around('apply', type, keyOf(object as KubeObject), () => client.apply(type, object, options)),
    patchStatus: (type, key, patch, options) =>
      around('patchStatus', type, key, () => client.patchStatus(type, key, patch, options)),
    delete: (type, key, options) => around('delete', type, key, () => client.delete(type, key, options)),
  };
}

/** A write that a client asked for. */
export interface Write {
  /** Counted from 1. */
  number: number;
  verb: WriteVerb;
  type: ResourceType;
  key: ObjectKey;
}

export interface WriteHook {
  /** A throw prevents the write. */
  before?: (write: Write) => void;
  /** Called when the API has answered, or refused; a throw loses the answer. */
  after?: (write: Write) => void;
}

/** The client with `hook` around each of its writes. */
export function withWriteHook(client: KubeClient, hook: WriteHook): KubeClient {
  let number = 0;
  return aroundWrites(client, async (verb, type, key, act) => {
    const write: Write = { number: ++number, verb, type, key: { namespace: key.namespace, name: key.name } };
    hook.before?.(write);
    try {
      return await act();
    } finally {
      hook.after?.(write);
    }
  });
}
