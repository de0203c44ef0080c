// Lets a test stand between a client and the API: fail before a write, or lose the answer after it.
import type { KubeObject } from '#crds/resource.ts';
import type { KubeClient, ObjectKey, ResourceType } from './client.ts';
import { keyOf } from './client.ts';

/** A write that a client asked for. */
export interface Write {
  /** Counted from 1. */
  number: number;
  verb: 'create' | 'update' | 'apply' | 'patchStatus' | 'delete';
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
  const around = async <R>(verb: Write['verb'], type: ResourceType, key: ObjectKey, act: () => Promise<R>): Promise<R> => {
    const write: Write = { number: ++number, verb, type, key: { namespace: key.namespace, name: key.name } };
    hook.before?.(write);
    try {
      return await act();
    } finally {
      hook.after?.(write);
    }
  };
  return {
    get: (type, key) => client.get(type, key),
    list: (type, options) => client.list(type, options),
    watch: (type, options) => client.watch(type, options),
    create: (type, object) => around('create', type, keyOf(object), () => client.create(type, object)),
    update: (type, object) => around('update', type, keyOf(object), () => client.update(type, object)),
    apply: (type, object, options) =>
      around('apply', type, keyOf(object as KubeObject), () => client.apply(type, object, options)),
    patchStatus: (type, key, patch, options) =>
      around('patchStatus', type, key, () => client.patchStatus(type, key, patch, options)),
    delete: (type, key, options) => around('delete', type, key, () => client.delete(type, key, options)),
  };
}
