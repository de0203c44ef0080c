// Read your own writes: remembers the versions that a reconcile wrote, so that the next one of the same object waits until the stores show them.
import type { KubeClient, KubeObject, ResourceType } from '#operator/kube/client.ts';
import { aroundWrites } from '#operator/kube/write-hook.ts';
import type { Store } from './store.ts';

/** The newest version written to each kind, in each namespace. */
export interface WrittenVersions {
  readonly isEmpty: boolean;
  note(type: ResourceType, object: KubeObject): void;
  /** Resolves when the store has seen what was written to its kind. */
  seenBy(store: Store): Promise<void>;
}

export function createWrittenVersions(): WrittenVersions {
  const versions = new Map<string, Map<string | undefined, string>>();
  const kindOf = (type: ResourceType) => `${type.group}/${type.kind}`;
  return {
    get isEmpty() {
      return versions.size === 0;
    },
    note(type, { metadata: { namespace, resourceVersion } }) {
      if (resourceVersion === undefined) return;
      const ofKind = versions.get(kindOf(type)) ?? new Map<string | undefined, string>();
      if (Number(resourceVersion) > Number(ofKind.get(namespace) ?? 0)) ofKind.set(namespace, resourceVersion);
      versions.set(kindOf(type), ofKind);
    },
    async seenBy(store) {
      const written = [...(versions.get(kindOf(store.type)) ?? [])];
      await Promise.all(written.map(([namespace, version]) => store.reached(version, namespace)));
    },
  };
}

/** The client, with the version of each write noted in `written`. */
export function recordWrites(client: KubeClient, written: WrittenVersions): KubeClient {
  return aroundWrites(client, async (_, type, __, act) => {
    const object = await act();
    if (object) written.note(type, object);
    return object;
  });
}
